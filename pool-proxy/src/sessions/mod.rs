//! Which sessions exist, and when they end.
//!
//! | file | what it decides |
//! |---|---|
//! | `places` | how many sessions there may be |
//! | `request_places` | how many requests of a session and of a principal may be in flight |
//! | `waiting` | which requests a cancel finds before a child has them |
//! | `client_session` | what a session has; when it is idle |
//! | `own_child` | whether a session has a child of its own now, and when that may leave |
//! | `room` | which idle session ends, so that another client gets its child |
//! | `turns` | which stream gets what the child says to its client |
//! | `table` | which session an id names |

mod client_session;
mod own_child;
mod places;
mod request_places;
mod room;
mod table;
mod turns;
mod waiting;

pub(crate) use client_session::{ClientSession, InUse, SessionKind};
pub(crate) use own_child::{LiveChild, OwnChild};
pub(crate) use places::Place;
pub(crate) use request_places::{RequestPlace, RequestPlaces, TooMany};
pub(crate) use table::Table;
pub(crate) use turns::StreamTurn;
