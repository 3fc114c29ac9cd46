//! Linux: processes are watched and signalled by pidfd, which never means another process, and
//! found under `/proc`.

mod pidfd;
mod poller;
mod posix_spawn;
mod proc_table;
mod root;
mod tables;
mod watch;

pub(crate) use pidfd::process_descriptor;
pub(crate) use poller::{PollWaker, Poller};
pub(crate) use posix_spawn::spawn;
pub(crate) use proc_table::{
    CAN_COUNT, clock_ticks, control_group, environment, has_living_member, is_leaving, is_stopped,
    processes, signal_process,
};
pub(crate) use root::Root;
pub(crate) use tables::use_own_descriptors;
pub(crate) use watch::{Watch, enlarge_pipe};
