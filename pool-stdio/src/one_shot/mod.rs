//! Children that serve one request each.
//!
//! | file | what it decides |
//! |---|---|
//! | `connector` | how children are kept ready for a pool |
//! | `connection` | input, end of input, output, exit |

mod connection;
mod connector;

pub use connection::{OneShot, Output};
pub use connector::OneShotConnector;
