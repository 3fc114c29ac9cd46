//! How a client ends a server that misbehaves: `pool-stdio` beside rmcp's client.
//!
//! | file | what it decides |
//! |---|---|
//! | `cases` | which cases there are, and the table |
//! | `servers` | the servers that misbehave |
//! | `ours`, `theirs` | each case with `pool-stdio` and with rmcp |
//! | `observation` | what was seen |

mod cases;
mod observation;
mod ours;
mod servers;
mod theirs;

pub(super) use cases::TOPIC;
