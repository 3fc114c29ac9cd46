//! What other systems have to say about themselves and Windows has not, or says in another way.

#![expect(
    unsafe_code,
    reason = "the standard library counts neither handles nor memory"
)]

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::time::{Duration, Instant};

use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

use super::win_errors::check;
use crate::process::outcome::CountFailure;
use crate::process::signal::Signal;
use crate::process::sys::{Delivery, Environment, Process, ProcessId};

/// The clock of the process layer. Real children cannot live on a paused one.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where real time enters"
)]
pub(crate) fn clock_now() -> Instant {
    Instant::now()
}

/// Waits on a thread that is allowed to.
#[expect(
    clippy::disallowed_methods,
    reason = "the spawner's pause between two attempts"
)]
pub(crate) fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    ToRead,
    ToWrite,
}

/// What a thread with descriptors of its own keeps: there are none here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept;

/// There are no signals.
pub(crate) const fn block_signals() {}

/// There is no limit on handles but that of memory.
pub(crate) const fn descriptor_limit() -> Option<u64> {
    None
}

/// How many handles are open.
pub(crate) fn descriptors_open() -> Option<u64> {
    let mut count = 0;
    // SAFETY: the pseudo handle of this process needs no closing.
    let own = unsafe { GetCurrentProcess() };
    // SAFETY: the number is written to memory of ours.
    let done = unsafe { GetProcessHandleCount(own, &raw mut count) };
    check(done).ok().map(|()| count.into())
}

pub(crate) const fn process_limit() -> Option<u64> {
    None
}

/// How much of this process is in memory.
pub(crate) fn resident_bytes() -> Option<u64> {
    // SAFETY: the pseudo handle of this process needs no closing.
    let own = unsafe { GetCurrentProcess() };
    // SAFETY: the same; it means this process for ever.
    resident_bytes_of(unsafe { BorrowedHandle::borrow_raw(own) })
}

/// How much of a process is in memory.
pub(super) fn resident_bytes_of(process: BorrowedHandle<'_>) -> Option<u64> {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let bytes = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).ok()?;
    counters.cb = bytes;
    // SAFETY: the handle is open; the counters are ours, and as long as is said.
    let done =
        unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut counters, bytes) };
    check(done).ok()?;
    u64::try_from(counters.WorkingSetSize).ok()
}

/// The system does not tell.
pub(crate) const fn is_stopped(_pid: u32) -> bool {
    false
}

/// A process has no parent that stays the same here.
pub(crate) const fn parent_id() -> u32 {
    0
}

/// Processes are counted by their job, and never by a scan.
pub(crate) const CAN_COUNT: bool = false;

pub(crate) const fn processes() -> Result<Vec<Process>, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn has_living_member(_: u32) -> Result<bool, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn environment(_: u32) -> Result<Environment, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn control_group(_: u32) -> Option<Vec<u8>> {
    None
}

pub(crate) const fn signal_process(_: ProcessId, _: &[Signal]) -> Delivery {
    Delivery::NoCounterpart
}

/// A process has no children to be reaped.
pub(crate) const fn reap_adopted(_: u32) -> bool {
    false
}

pub(crate) const fn clock_ticks() -> u64 {
    0
}

pub(crate) fn use_own_descriptors(_: Kept) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
