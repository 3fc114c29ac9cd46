//! What `libproc` says of processes.

#![expect(unsafe_code, reason = "nix does not have libproc")]

use std::io;
use std::mem::MaybeUninit;

use nix::errno::Errno;

use super::group::{RunState, Seen, all_of, living};
use crate::process::outcome::CountFailure;
use crate::process::signal::Signal;
use crate::process::sys::unix::signal_process_by_pid;
use crate::process::sys::{Delivery, Process, ProcessId};

/// Those that live of a process group, its leader among them. Only while its number cannot have become
/// another group's.
pub(super) fn members(group: u32) -> io::Result<Vec<u32>> {
    let number = libc::pid_t::try_from(group).map_err(io::Error::other)?;
    let listed = all_of(|room| {
        listed(room, |buffer, bytes| {
            // SAFETY: the buffer is as long as is said.
            unsafe { libc::proc_listpgrppids(number, buffer, bytes) }
        })
    })?;
    Ok(living(group, listed, look))
}

/// Whether a group has a member that lives.
pub(crate) fn has_living_member(group: u32) -> Result<bool, CountFailure> {
    let members = members(group).map_err(|_| CountFailure::Refused)?;
    Ok(!members.is_empty())
}

/// All processes that may be looked at.
pub(crate) fn processes() -> Result<Vec<Process>, CountFailure> {
    let pids = all_of(|room| {
        listed(room, |buffer, bytes| {
            // SAFETY: the buffer is as long as is said.
            unsafe { libc::proc_listallpids(buffer, bytes) }
        })
    });
    let pids = pids.map_err(|_| CountFailure::Refused)?;
    Ok(pids.into_iter().filter_map(process).collect())
}

fn process(pid: u32) -> Option<Process> {
    let seen = look(pid).ok()??;
    // Those of other users may not be asked for their memory.
    let usage = usage(pid);
    Some(Process {
        id: ProcessId {
            pid,
            started_ticks: usage.map_or(0, |usage| usage.ri_proc_start_abstime),
        },
        parent: seen.parent,
        group: seen.group,
        is_dead: seen.state == RunState::Zombie,
        is_leaving: false,
        resident_bytes: usage.map_or(0, |usage| usage.ri_resident_size),
    })
}

/// Signals a process, unless its number is another's by now.
pub(crate) fn signal_process(process: ProcessId, signals: &[Signal]) -> Delivery {
    let mut sent = Delivery::NoReceiver;
    for signal in signals {
        let is_it = usage(process.pid)
            .is_some_and(|usage| usage.ri_proc_start_abstime == process.started_ticks);
        if !is_it {
            return Delivery::NoReceiver;
        }
        sent = signal_process_by_pid(process.pid, Some(*signal));
    }
    sent
}

/// Whether a process is stopped, as by SIGSTOP.
pub(crate) fn is_stopped(pid: u32) -> bool {
    matches!(look(pid), Ok(Some(seen)) if seen.state == RunState::Stopped)
}

/// Whether a process has exited. The pid must mean the process.
pub(crate) fn is_leaving(pid: u32) -> bool {
    matches!(look(pid), Ok(seen) if seen.is_none_or(|seen| seen.state == RunState::Zombie))
}

/// Of the clock that starts of processes are told in.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: the call takes nothing.
    unsafe { mach_absolute_time() }
}

unsafe extern "C" {
    fn mach_absolute_time() -> u64;
}

/// Makes a call that lists process ids, and says how many it wrote.
fn listed(
    room: &mut [libc::pid_t],
    call: impl FnOnce(*mut libc::c_void, libc::c_int) -> libc::c_int,
) -> io::Result<usize> {
    let bytes = libc::c_int::try_from(size_of_val(room)).map_err(io::Error::other)?;
    // It returns 0 for a failure, and for an empty list.
    Errno::clear();
    let count = call(room.as_mut_ptr().cast(), bytes);
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count.min(room.len())),
        Ok(_) if Errno::last_raw() == 0 => Ok(0),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// `None` if there is no such process, or it is dead.
fn look(pid: u32) -> io::Result<Option<Seen>> {
    let number = libc::c_int::try_from(pid).map_err(io::Error::other)?;
    let mut info = MaybeUninit::<libc::proc_bsdshortinfo>::zeroed();
    let bytes = libc::c_int::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    let flavor = libc::PROC_PIDT_SHORTBSDINFO;
    // SAFETY: the memory is ours, and as long as is said.
    let written = unsafe { libc::proc_pidinfo(number, flavor, 0, info.as_mut_ptr().cast(), bytes) };
    if written < bytes {
        let error = Errno::last();
        return if error == Errno::ESRCH {
            Ok(None)
        } else {
            Err(error.into())
        };
    }
    // SAFETY: the call has written all of it.
    let info = unsafe { info.assume_init() };
    Ok(Some(Seen {
        parent: info.pbsi_ppid,
        group: info.pbsi_pgid,
        state: match info.pbsi_status {
            libc::SZOMB => RunState::Zombie,
            libc::SSTOP => RunState::Stopped,
            _ => RunState::Lives,
        },
    }))
}

fn usage(pid: u32) -> Option<libc::rusage_info_v0> {
    let number = libc::c_int::try_from(pid).ok()?;
    let mut info = MaybeUninit::<libc::rusage_info_v0>::zeroed();
    let flavor = libc::RUSAGE_INFO_V0;
    // SAFETY: the memory is ours, and as long as this flavor is.
    let done = unsafe { libc::proc_pid_rusage(number, flavor, info.as_mut_ptr().cast()) };
    // SAFETY: integers only, of which every one is zero or was written.
    (done == 0).then(|| unsafe { info.assume_init() })
}
