//! Reads the processes of the system under `/proc`.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::pidfd::{pidfd_open, pidfd_send_signal};
use crate::process::outcome::CountFailure;
use crate::process::signal::Signal;
use crate::process::sys::unix::{delivery, signal_process_by_pid};
use crate::process::sys::{Delivery, Environment, Process, ProcessId};

/// Whether processes can be counted on this system.
pub(crate) const CAN_COUNT: bool = true;

/// Reads all processes but this one and the threads of the kernel.
///
/// Can block on a process that is stuck in the kernel, so the custodian must not call it.
pub(crate) fn processes() -> Result<Vec<Process>, CountFailure> {
    check_namespace()?;
    let own_pid = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| failure(&error))? {
        let name = entry.map_err(|error| failure(&error))?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == own_pid {
            continue;
        }
        found.extend(read_process(pid).map_err(|error| failure(&error))?);
    }
    Ok(found)
}

/// Whether a process group has a member that is not dead.
pub(crate) fn has_living_member(group: u32) -> Result<bool, CountFailure> {
    let mut processes = processes()?.into_iter();
    Ok(processes.any(|process| process.group == group && !process.is_dead))
}

/// Whether `/proc` shows the processes by the ids that this process knows them by.
fn check_namespace() -> Result<(), CountFailure> {
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) if is_missing(&error) => return Err(CountFailure::NoProc),
        Err(error) => return Err(failure(&error)),
    };
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .map(|ids| ids.split_ascii_whitespace().collect::<Vec<_>>());
    match own.as_deref() {
        // Kernels that do not tell (built without namespaces) have one namespace only.
        None => Ok(()),
        Some([only]) if only.parse() == Ok(std::process::id()) => Ok(()),
        Some(_) => Err(CountFailure::NoProc),
    }
}

/// `None` if it has gone, is a thread of the kernel, or is hidden: with `hidepid=1` the names of other
/// users' processes are shown, and nothing else; with 2 not even these.
fn read_process(pid: u32) -> io::Result<Option<Process>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse_stat(pid, &stat, || thread_stats(pid))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same of each thread. Empty if they cannot be read.
fn thread_stats(pid: u32) -> Vec<Vec<u8>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    // One that has gone meanwhile has left.
    threads
        .filter_map(|thread| fs::read(thread.path().join("stat")).ok())
        .collect()
}

/// The fields after the name, of which the first has number 3.
fn fields_of(stat: &[u8]) -> Option<Vec<&str>> {
    // The name, in parentheses, can hold anything, also spaces and parentheses.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    Some(rest.split_ascii_whitespace().collect())
}

/// Whether a thread exits or has exited. One that cannot be told does not.
fn is_thread_leaving(stat: &[u8]) -> bool {
    let fields = fields_of(stat).unwrap_or_default();
    let flags = fields
        .get(9 - 3)
        .and_then(|flags| flags.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// The flags of a process are those of its first thread. If that exits, the others are asked for.
fn parse_stat(
    pid: u32,
    stat: &[u8],
    thread_stats: impl FnOnce() -> Vec<Vec<u8>>,
) -> Option<Process> {
    let fields = fields_of(stat)?;
    let field = |number: usize| fields.get(number - 3).copied();
    let flags: u32 = field(9)?.parse().ok()?;
    let threads: u32 = field(20)?.parse().ok()?;
    let do_all_leave = || {
        let all = thread_stats();
        !all.is_empty() && all.iter().all(|stat| is_thread_leaving(stat))
    };
    let process = Process {
        id: ProcessId {
            pid,
            started_ticks: field(22)?.parse().ok()?,
        },
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        // If the first thread has ended and others run, the state is that of the first.
        is_dead: matches!(field(3)?, "Z" | "X" | "x") && threads <= 1,
        is_leaving: flags & PF_EXITING != 0 && (threads <= 1 || do_all_leave()),
        resident_bytes: field(24)?.parse::<u64>().unwrap_or(0) * page_bytes(),
    };
    (flags & PF_KTHREAD == 0).then_some(process)
}

fn page_bytes() -> u64 {
    static PAGE_BYTES: OnceLock<u64> = OnceLock::new();
    *PAGE_BYTES.get_or_init(|| {
        let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        bytes
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(4096)
    })
}

/// Whether a process is stopped, as by SIGSTOP. The caller makes sure that the
/// process was not reaped, so that no other one can have this pid.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let end_of_name = stat.iter().rposition(|byte| *byte == b')');
    end_of_name.is_some_and(|end| stat[end..].starts_with(b") T"))
}

/// Whether a process exits or has exited. The pid must mean the process.
pub(crate) fn is_leaving(pid: u32) -> bool {
    read_process(pid).is_ok_and(|process| process.is_some_and(|it| it.is_leaving || it.is_dead))
}

/// Reads the environment of a process.
pub(crate) fn environment(pid: u32) -> Result<Environment, CountFailure> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let first = read_environ(&directory)?;
    if !matches!(first, Environment::Missing) {
        return Ok(first);
    }
    // The first thread may have ended before the others. Then only they have one.
    let Ok(threads) = fs::read_dir(directory.join("task")) else {
        return Ok(Environment::Missing);
    };
    for thread in threads.flatten().skip(1) {
        let other = read_environ(&thread.path())?;
        if !matches!(other, Environment::Missing) {
            return Ok(other);
        }
    }
    Ok(Environment::Missing)
}

/// The control group that a process is in, if that can be read.
pub(crate) fn control_group(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cgroup")).ok()
}

fn read_environ(directory: &Path) -> Result<Environment, CountFailure> {
    match fs::read(directory.join("environ")) {
        Ok(bytes) if bytes.is_empty() => Ok(Environment::Missing),
        Ok(bytes) => Ok(Environment::Read(bytes)),
        Err(error) if is_missing(&error) => Ok(Environment::Missing),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Environment::Forbidden),
        Err(error) => Err(failure(&error)),
    }
}

/// The process has gone, or its directory is not there.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOTDIR))
}

fn failure(error: &io::Error) -> CountFailure {
    if is_missing(error) {
        CountFailure::NoProc
    } else {
        CountFailure::Refused
    }
}

/// Sends the signals to a process, and to no other that has got its pid since.
pub(crate) fn signal_process(process: ProcessId, signals: &[Signal]) -> Delivery {
    // Order: opened before it is identified. If the pid is reused in between, the pidfd means the
    // process that has gone, and the signal reaches nobody.
    let pidfd = match pidfd_open(process.pid) {
        Ok(pidfd) => Some(pidfd),
        Err(Errno::ESRCH) => return Delivery::NoReceiver,
        Err(_) => None,
    };
    match read_process(process.pid) {
        Ok(Some(found)) if found.id == process => {}
        _ => return Delivery::NoReceiver,
    }
    let mut last = Delivery::NoReceiver;
    for signal in signals {
        let by_pidfd = pidfd
            .as_ref()
            .map(|pidfd| pidfd_send_signal(pidfd.as_fd(), Some(*signal), 0));
        last = match by_pidfd {
            // Without the call there is a moment in which the pid can change hands.
            None | Some(Err(Errno::EPERM | Errno::ENOSYS)) => {
                signal_process_by_pid(process.pid, Some(*signal))
            }
            Some(sent) => delivery(sent),
        };
    }
    last
}

/// The time since the system was started, in the unit and by the clock of
/// [`ProcessId::started_ticks`].
pub(crate) fn clock_ticks() -> u64 {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return 0;
    };
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    seconds * per_second + nanos * per_second / 1_000_000_000
}

/// The kernel's flag of a process that is on its way out.
const PF_EXITING: u32 = 0x4;
/// The kernel's flag of one of its own threads.
const PF_KTHREAD: u32 = 0x0020_0000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(stat: &str) -> Process {
        parse_stat(7, stat.as_bytes(), Vec::new).expect("it is complete")
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_no_field() {
        let stat = "7 (a) R 9 (b)) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 911 0 1 2";
        let process = parse(stat);
        assert_eq!((process.parent, process.group), (3, 4));
        assert_eq!((process.id.pid, process.id.started_ticks), (7, 911));
        assert!(!process.is_dead && !process.is_leaving);
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_dead_only_without_others() {
        let stat = |state: &str, threads: u32| {
            format!("7 (x) {state} 3 4 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 911 0 1 2")
        };
        assert!(parse(&stat("Z", 1)).is_dead);
        assert!(parse(&stat("X", 0)).is_dead);
        let others_run = parse(&stat("Z", 2));
        assert!(!others_run.is_dead && !others_run.is_leaving);
        assert!(parse(&stat("S", 1)).is_leaving);
    }

    #[test]
    fn a_process_of_several_threads_leaves_when_all_of_them_do() {
        let stat = |state: &str, flags: u32| {
            format!("7 (x) {state} 3 4 5 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 2 0 911 0 1 2")
                .into_bytes()
        };
        let is_leaving = |threads: &[Vec<u8>]| {
            let process = parse_stat(7, &threads[0], || threads.to_vec());
            process.expect("it is complete").is_leaving
        };
        let (exiting, dead) = (stat("D", PF_EXITING), stat("Z", PF_EXITING | 0x40_0000));
        let running = stat("R", 0x40_0000);
        assert!(is_leaving(&[exiting.clone(), exiting.clone()]));
        assert!(is_leaving(&[dead.clone(), exiting.clone()]));
        for others in [&running, &b"8 (x".to_vec()] {
            assert!(
                !is_leaving(&[dead.clone(), others.clone()]),
                "its first thread has ended"
            );
            assert!(!is_leaving(&[
                exiting.clone(),
                exiting.clone(),
                others.clone()
            ]));
        }
        let not_asked = || panic!("its first thread runs");
        assert!(
            !parse_stat(7, &running, not_asked)
                .expect("it is complete")
                .is_leaving
        );
        assert!(
            !parse_stat(7, &exiting, Vec::new)
                .expect("it is complete")
                .is_leaving
        );
    }

    #[test]
    fn the_threads_of_this_process_are_read_and_none_of_them_leaves() {
        std::thread::scope(|scope| {
            let (go_on, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let all = thread_stats(std::process::id());
            assert!(all.len() > 1, "{}", all.len());
            assert!(all.iter().any(|stat| !is_thread_leaving(stat)));
            drop(go_on);
        });
    }

    #[test]
    fn no_process_of_this_moment_was_started_in_the_future() {
        let now = clock_ticks();
        let found = processes().expect("there is a /proc");
        assert!(!found.is_empty());
        assert!(found.iter().all(|one| one.id.started_ticks <= now + 100));
    }
}
