//! The children that need no program of the user's: the measuring program itself, in another role.

mod role;
mod server;

pub use role::{BuiltIn, ROLE, act_if_asked};
pub use server::{Tool, Wire, large_request};
