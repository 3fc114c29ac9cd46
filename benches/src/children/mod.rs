//! Children as connections: what a request costs, what a child costs, and what reuse saves.
//!
//! Each module measures one thing and returns a [`Chapter`]: its tables, and its figures beside
//! their bars. Subjects take turns, round after round, and the ratios of medians are judged.
//!
//! The children are the measuring program itself, started in another [role](act_if_asked).

mod chapter;
mod cores;
mod endings;
mod idle_children;
mod many_ends;
mod per_request;
mod program;
mod replace;
mod round_trip;
mod rpc;
mod scale;
mod spawn;
mod stall;
mod topics;
mod trees;

pub use chapter::{Chapter, Picture, Topic};
pub use program::act_if_asked;
pub use topics::TOPICS;
