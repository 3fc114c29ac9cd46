//! Linux: processes are watched and signalled by pidfd, which never means another process, and
//! found under `/proc`.

mod pidfd;
mod poller;
mod proc_table;
mod root;
mod tables;

pub(crate) use poller::{PollWaker, Poller};
pub(crate) use proc_table::{
    CAN_COUNT, clock_ticks, control_group, environment, is_stopped, processes, signal_process,
};
pub(crate) use root::Root;
pub(crate) use tables::use_own_descriptors;
