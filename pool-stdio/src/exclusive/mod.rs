//! Children that answer one request at a time.
//!
//! | file | what it decides |
//! |---|---|
//! | `connector` | when a new child is ready to be lent, how one is judged and closed for a pool |
//! | `connection` | what a caller can do with a child |
//! | `request` | how a request is put together: its end, its time limit |
//! | `exchange` | how a request is written and answered; whether a connection is dirty, alive |
//! | `account` | which replies the child still owes |
//! | `fault` | which error a caller gets when no reply comes |
//! | `settings` | what the user has said of the protocol |
//! | `quiet_token` | how a child is found to have answered everything |
//! | `wire` | how bytes and frames go in both directions without blocking each other |

mod account;
mod connection;
mod connector;
mod exchange;
mod fault;
mod quiet_token;
mod request;
mod settings;
mod wire;

pub use connection::StdioConnection;
pub use connector::StdioConnector;
pub use request::Request;
