//! Which sessions exist, and when they end.
//!
//! | file | what it decides |
//! |---|---|
//! | `places` | how many sessions there may be |
//! | `client_session` | what a session has; when it is idle |
//! | `room` | which idle session ends, so that another client gets its child |
//! | `turns` | which stream gets what the child says to its client |
//! | `table` | which session an id names |

mod client_session;
mod places;
mod room;
mod table;
mod turns;

pub(crate) use client_session::{InUse, Kind};
pub(crate) use places::Place;
pub(crate) use table::Table;
pub(crate) use turns::StreamTurn;
