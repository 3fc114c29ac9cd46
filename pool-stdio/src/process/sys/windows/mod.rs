//! Windows: a child is in a job object before its first instruction, its pipes are overlapped named
//! pipes on one completion port, and its exit is posted to the same port.

mod async_ends;
mod command_line;
mod create_process;
mod job;
mod opened_process;
mod overlapped;
mod pipe_core;
mod pipe_pair;
mod port;
mod process_root;
mod registered_wait;
mod unix_names;
mod watching;
mod win_errors;

pub use async_ends::OwnedPipe;
pub(crate) use async_ends::{
    AsyncStdin, AsyncStdout, PipeEnd, StdoutView, enclose, expose, is_writing, never_blocks, view,
};
pub(crate) use command_line::can_reach_batch;
pub(crate) use create_process::{Spawned, spawn};
pub(crate) use opened_process::{ForeignProcess, is_leaving};
pub(crate) use pipe_core::Readiness;
pub(crate) use port::{PollWaker, Poller};
pub(crate) use process_root::{Look, Root};
pub(crate) use unix_names::{
    CAN_COUNT, Kept, Ready, block_signals, clock_now, clock_ticks, control_group, descriptor_limit,
    descriptors_open, environment, has_living_member, is_stopped, parent_id, pause, process_limit,
    processes, reap_adopted, resident_bytes, signal_process, use_own_descriptors,
};
pub(crate) use watching::{WatchedExit, WatchedPipe};
pub(crate) use win_errors::os_error_kind;
