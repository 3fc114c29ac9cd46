//! Sends one request to a command in up to three ways and compares how many requests per second each
//! serves: a process started for each request, a pool, and one process for all callers.
//!
//! | file | what it decides |
//! |---|---|
//! | `program` | the order of steps, and the exit code |
//! | `arguments` | the command line |
//! | `task` | what is sent to which command |
//! | `framing` | where a message ends |
//! | `started` | that no child is left behind |
//! | `look` | whether the command can be reused at all |
//! | `by_id` | whether one child can serve all callers at once |
//! | `problem` | what is said of a command that cannot be compared |
//! | `ways` | the ways that are compared: `spawned`, `pooled` and `multiplexed` |
//! | `race` | how many requests each way gets, in turns |
//! | `one_shot` | what starting ahead saves where reuse is impossible |
//! | `show` | the table, the bars and the verdict |

mod arguments;
mod by_id;
mod framing;
mod look;
mod one_shot;
mod problem;
mod program;
mod race;
mod show;
mod started;
mod task;
mod ways;

pub use arguments::Arguments;
pub use program::run;
