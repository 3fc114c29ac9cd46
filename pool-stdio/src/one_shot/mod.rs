//! Children that serve one request each.
//!
//! | file | what it decides |
//! |---|---|
//! | `connector` | how children are kept ready for a pool |
//! | `connection` | what a caller can do with a child |
//! | `run` | how a run is put together: its input, its time limit |
//! | `collector` | when a child is done, and how much of its output is kept |
//! | `stream` | a run whose input and output are streams |
//! | `output` | what a run gives |

mod collector;
mod connection;
mod connector;
mod output;
mod run;
mod stream;

pub use connection::OneShot;
pub use connector::OneShotConnector;
pub use output::Output;
pub use run::Run;
pub use stream::OneShotStream;
