//! The small process that ends our children when this program has gone, however it went.
//!
//! It is started with the first child. It is told of every start before it is made, of every child
//! that runs, and of the death of each root before its pid is free. When the pipe on which it is told
//! breaks, this program has gone: it gives the children a grace, in which they may act on the end of
//! their input, then it ends them as their scopes say, and leaves.
//!
//! It is a shell that runs a script, or this program itself if its `main` calls [`guard_main`], which
//! needs no shell. It leads a process group of its own, so that what is sent to ours does not reach it,
//! and blocks the signals that would end it. It stays in our session: if it was stopped, the kernel
//! continues it when its parent has gone.

#[cfg(windows)]
mod by_job;
#[cfg(unix)]
mod guard_main;
#[cfg(unix)]
mod guarded_start;
#[cfg(unix)]
mod guardian_start;
#[cfg(unix)]
mod keeper;
#[cfg(unix)]
mod running_guardian;
#[cfg(unix)]
mod told;

#[cfg(windows)]
pub(crate) use self::by_job::{
    GuardedStart, Hooks, Started, cgroup_removed, ended, ensure, exited, flush, rootless, set_hooks,
};
#[cfg(windows)]
pub use self::by_job::{guard_main, set_host_death_grace};
#[cfg(unix)]
pub use self::guard_main::guard_main;
#[cfg(unix)]
pub(crate) use self::guarded_start::GuardedStart;
#[cfg(unix)]
pub use self::keeper::set_host_death_grace;
#[cfg(unix)]
pub(crate) use self::keeper::{
    Hooks, Started, cgroup_removed, ended, ensure, exited, flush, rootless, set_hooks,
};
