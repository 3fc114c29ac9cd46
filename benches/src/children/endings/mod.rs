//! How a client ends a server that misbehaves: `pool-stdio` beside rmcp's client.
//!
//! | file | what it decides |
//! |---|---|
//! | `case`, `cases` | which cases there are, and the table |
//! | `servers` | the servers that misbehave |
//! | `with_pool_stdio`, `with_rmcp` | each case with one of the clients |
//! | `observation` | what was seen |

mod case;
mod cases;
mod observation;
mod servers;
mod with_pool_stdio;
mod with_rmcp;

pub(super) use cases::TOPIC;
