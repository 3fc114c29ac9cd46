//! Children that answer one request at a time.
//!
//! | file | what it decides |
//! |---|---|
//! | `connector` | how a child is started, greeted, judged and closed for a pool |
//! | `connection` | what a caller can do, and what a cancelled call leaves |
//! | `exchange` | how a request is written and answered, poll by poll |
//! | `life` | what is known without asking the child; how it ends |
//! | `fault` | what an end of stream, a broken pipe or an exit means for the request |
//! | `stray` | what becomes of output that nobody asked for |
//! | `wire` | how bytes and frames go to and fro without waiting for each other |

mod connection;
mod connector;
mod exchange;
mod fault;
mod life;
mod stray;
mod wire;

pub use connection::StdioConnection;
pub use connector::StdioConnector;
pub use stray::StrayPolicy;
