//! macOS: exits are announced by a kqueue, members of a group are listed by `libproc`, and a child
//! inherits nothing that is not named.
//!
//! A pid is safe as long as its process is not reaped. Since members can be counted while the root is
//! unreaped, they get their grace, and the root is reaped at the end.

mod apple_spawn;
mod exits;
mod group;
mod kqueue;
mod libproc;
mod unreaped_root;

pub(crate) use apple_spawn::spawn;
pub(crate) use kqueue::{PollWaker, Poller, WatchedExit};
pub(crate) use libproc::{
    clock_ticks, has_living_member, is_leaving, is_stopped, processes, signal_process,
};
pub(crate) use unreaped_root::Root;
