//! Watching and signalling by pidfd, and finding processes under `/proc`.

#![expect(
    unsafe_code,
    reason = "neither nix nor the standard library has the pidfd calls"
)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::unix::{delivery, number_of, signal_group_by_pid, wait};
use super::{Delivery, Life, PidState};
use crate::process::cookie::Cookie;
use crate::process::outcome::Exit;
use crate::process::signal::Signal;
use crate::process::terminate::Others;

/// A child of ours, known by its pidfd.
#[derive(Debug)]
pub(crate) struct Root {
    pid: u32,
    /// `None` if other code of this program had reaped the child before it could be opened.
    pidfd: Option<OwnedFd>,
}

impl Root {
    /// To be called before the child can have been reaped by us.
    pub(crate) fn adopt(pid: u32) -> io::Result<Self> {
        match pidfd_open(pid) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd: Some(pidfd),
            }),
            Err(Errno::ESRCH) => Ok(Self { pid, pidfd: None }),
            Err(error) => Err(error.into()),
        }
    }

    /// Readable from the child's exit on.
    pub(crate) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it runs. Does not reap it.
    pub(crate) fn life(&self) -> io::Result<Life> {
        self.wait(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    }

    /// The same, and frees its pid if it has exited.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        self.wait(libc::WEXITED | libc::WNOHANG)
    }

    fn wait(&self, flags: libc::c_int) -> io::Result<Life> {
        match &self.pidfd {
            Some(pidfd) => wait(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned(), flags),
            None => Ok(Life::Over(Exit::Lost)),
        }
    }

    /// To the child alone.
    pub(crate) fn signal(&self, signal: Signal, _: PidState) -> Delivery {
        let Some(pidfd) = &self.pidfd else {
            return Delivery::NoReceiver;
        };
        delivery(pidfd_send_signal(pidfd.as_fd(), Some(signal), 0))
    }

    /// To every member of the group that the child was started in.
    pub(crate) fn signal_group(&self, signal: Signal, pid_state: PidState) -> Delivery {
        self.to_group(Some(signal), pid_state)
    }

    /// Whether the group can be signalled and looked at after the root was reaped.
    pub(crate) fn outlives_its_pid(&self) -> bool {
        let fd = self.pidfd.as_ref();
        fd.is_some_and(|pidfd| group_flag_works(pidfd.as_fd()))
    }

    /// Whether the group is empty, as far as can be told without a look at each process. Zombies
    /// count as members, so `false` proves nothing.
    pub(crate) fn group_is_empty(&self, pid_state: PidState) -> bool {
        matches!(self.to_group(None, pid_state), Delivery::NoReceiver)
    }

    fn to_group(&self, signal: Option<Signal>, pid_state: PidState) -> Delivery {
        if let Some(pidfd) = &self.pidfd
            && group_flag_works(pidfd.as_fd())
        {
            let flags = libc::PIDFD_SIGNAL_PROCESS_GROUP;
            return delivery(pidfd_send_signal(pidfd.as_fd(), signal, flags));
        }
        match pid_state {
            PidState::Held => signal_group_by_pid(self.pid, signal),
            PidState::Released => Delivery::NoReceiver,
        }
    }
}

/// Finds the living processes that belong to a child.
#[derive(Debug)]
pub(crate) struct Scanner;

impl Scanner {
    /// Whether this system can count living processes.
    pub(crate) const fn can_count() -> bool {
        true
    }

    /// Counts the living members of the group without the root, and the processes outside the group
    /// that carry the cookie. Sends the signals to the latter.
    ///
    /// Can block on a process that is stuck in the kernel, so the custodian must not call it.
    pub(crate) fn scan(
        root: &Root,
        pid_state: PidState,
        cookie: Option<&Cookie>,
        signals: &[Signal],
    ) -> Others {
        let mut clean_passes = 0;
        for _ in 0..PASSES_MAX {
            let Count { alive, leaving } = Self::pass(root, pid_state, cookie, signals);
            if alive > 0 {
                return Others::Alive(alive);
            }
            if leaving == 0 {
                clean_passes += 1;
            }
            // Order: twice, because a process has no environment for a moment while it executes
            // another program, and one that was just forked may have a pid that was passed already.
            if cookie.is_none() || clean_passes == 2 {
                break;
            }
        }
        Others::Gone
    }

    /// Sends the signals to those outside the group, once, without asking whether all were found.
    pub(crate) fn signal_marked(
        root: &Root,
        pid_state: PidState,
        cookie: &Cookie,
        signals: &[Signal],
    ) {
        Self::pass(root, pid_state, Some(cookie), signals);
    }

    fn pass(
        root: &Root,
        pid_state: PidState,
        cookie: Option<&Cookie>,
        signals: &[Signal],
    ) -> Count {
        let mut count = Count::default();
        let group_lives = !root.group_is_empty(pid_state);
        let Ok(processes) = fs::read_dir("/proc") else {
            return count;
        };
        let own_pid = std::process::id();
        for entry in processes.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let is_root = pid == root.pid && pid_state == PidState::Held;
            if pid == own_pid || is_root {
                continue;
            }
            match Stat::read(&entry.path()) {
                None | Some(Stat { is_dead: true, .. }) => {}
                Some(stat) if group_lives && stat.pgrp == root.pid => count.alive += 1,
                Some(stat) => {
                    let Some(cookie) = cookie else { continue };
                    if signal_if_marked(pid, cookie, signals) {
                        count.alive += 1;
                    } else if stat.is_leaving {
                        count.leaving += 1;
                    }
                }
            }
        }
        count
    }
}

/// What one pass over all processes found.
#[derive(Debug, Default)]
struct Count {
    /// Ours, and alive.
    alive: usize,
    /// Of any program, on their way out: their environment has gone, but they are still listed.
    leaving: usize,
}

/// Whether the process carries the cookie; if so it is sent the signals.
fn signal_if_marked(pid: u32, cookie: &Cookie, signals: &[Signal]) -> bool {
    let is_marked =
        || fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| cookie.is_in(&environ));
    if signals.is_empty() {
        return is_marked();
    }
    // Order: opened before it is identified. If the pid is reused in between, the pidfd
    // means the process that has gone, and the signal reaches nobody.
    let pidfd = pidfd_open(pid);
    if !is_marked() {
        return false;
    }
    if let Ok(pidfd) = pidfd {
        for signal in signals {
            // A refused or late signal leaves the process alive, to be seen by the next pass.
            let (Ok(()) | Err(_)) = pidfd_send_signal(pidfd.as_fd(), Some(*signal), 0);
        }
    }
    true
}

/// Whether the process is stopped, as by SIGSTOP. The pid must mean the process.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = Stat::read(Path::new(&format!("/proc/{pid}")));
    stat.is_some_and(|stat| stat.is_stopped)
}

/// What is needed of `/proc/PID/stat`.
struct Stat {
    is_dead: bool,
    is_stopped: bool,
    is_leaving: bool,
    pgrp: u32,
}

impl Stat {
    fn read(process: &Path) -> Option<Self> {
        let stat = fs::read(process.join("stat")).ok()?;
        // The name, in parentheses, may hold anything, also spaces and parentheses.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let pgrp = fields.nth(1)?.parse().ok()?;
        let flags: u32 = fields.nth(3)?.parse().ok()?;
        Some(Self {
            is_dead: matches!(state, "Z" | "X" | "x"),
            is_stopped: state == "T",
            is_leaving: flags & PF_EXITING != 0,
            pgrp,
        })
    }
}

fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor was just made for us (close-on-exec, always) and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pidfd_send_signal(
    pidfd: BorrowedFd<'_>,
    signal: Option<Signal>,
    flags: libc::c_uint,
) -> nix::Result<()> {
    let signal = signal.map_or(0, |signal| number_of(signal) as libc::c_int);
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the null pointer asks for default signal information; the rest are integers.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            flags,
        )
    };
    Errno::result(done).map(drop)
}

/// Whether the kernel (6.9 and later) can signal the group of a pidfd.
fn group_flag_works(pidfd: BorrowedFd<'_>) -> bool {
    if cfg!(pool_stdio_old_kernel) {
        return false;
    }
    static REFUSED: AtomicBool = AtomicBool::new(false);
    static ACCEPTED: AtomicBool = AtomicBool::new(false);
    if ACCEPTED.load(Ordering::Relaxed) || REFUSED.load(Ordering::Relaxed) {
        return ACCEPTED.load(Ordering::Relaxed);
    }
    let works =
        pidfd_send_signal(pidfd, None, libc::PIDFD_SIGNAL_PROCESS_GROUP) != Err(Errno::EINVAL);
    if works { &ACCEPTED } else { &REFUSED }.store(true, Ordering::Relaxed);
    works
}

/// The kernel's flag of a process that is on its way out.
const PF_EXITING: u32 = 0x4;
/// A process takes microseconds to leave, unless it is stuck; then it is not waited for.
const PASSES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    use super::super::unix::{Spawned, spawn};
    use super::*;

    /// A shell that runs this, with our ends of its pipes. Its descendants hold the second.
    fn shell(script: &str) -> (Root, OwnedFd, fs::File) {
        let mut command = Command::new("/bin/sh");
        let spawned = spawn(command.args(["-c", script]), Stdio::inherit()).unwrap();
        let Spawned {
            pid, stdin, stdout, ..
        } = spawned;
        (
            Root::adopt(pid).unwrap(),
            stdin.unwrap(),
            stdout.unwrap().into(),
        )
    }

    /// Leaves a member in the group that waits for the end of its input.
    const LEAVE_A_MEMBER: &str = "exec 3<&0; cat <&3 & exit 0";

    fn wait_for_exit(root: &Root) {
        let fd = root.exit_fd().unwrap();
        super::super::poll(&[(fd, super::super::Ready::ToRead)], None).unwrap();
    }

    /// Waits until no process holds the pipe.
    fn wait_for_all(mut pipe: fs::File) {
        pipe.read_to_end(&mut Vec::new()).unwrap();
    }

    fn is_receiver_missing(delivery: &Delivery) -> bool {
        matches!(delivery, Delivery::NoReceiver)
    }

    #[test]
    fn a_look_does_not_reap_and_a_reap_does() {
        let (root, _stdin, _stdout) = shell("exit 3");
        wait_for_exit(&root);
        for _ in 0..2 {
            let Life::Over(Exit::Status(status)) = root.life().unwrap() else {
                panic!()
            };
            assert_eq!(status.code(), Some(3));
        }
        assert!(matches!(root.reap().unwrap(), Life::Over(Exit::Status(_))));
        assert_eq!(root.life().unwrap(), Life::Over(Exit::Lost));
    }

    #[test]
    fn a_group_is_reached_after_its_leader_was_reaped_and_nobody_else_is() {
        let (root, stdin, stdout) = shell(LEAVE_A_MEMBER);
        wait_for_exit(&root);
        root.reap().unwrap();
        assert!(is_receiver_missing(
            &root.signal(Signal::Kill, PidState::Released)
        ));
        if root.outlives_its_pid() {
            assert_eq!(
                Scanner::scan(&root, PidState::Released, None, &[]),
                Others::Alive(1)
            );
            assert!(matches!(
                root.signal_group(Signal::Kill, PidState::Released),
                Delivery::Sent
            ));
        }
        // If the group cannot be signalled, the end of its input must end it.
        let _held = root.outlives_its_pid().then_some(stdin);
        wait_for_all(stdout);
        // Its pipe is closed a little before it is dead. Then it is a zombie, for as long as the
        // first process of the system likes, and is not counted.
        while Scanner::scan(&root, PidState::Released, None, &[]) != Others::Gone {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_stolen_status_is_lost_and_the_group_is_still_reached() {
        let (root, stdin, stdout) = shell(LEAVE_A_MEMBER);
        waitpid(Pid::from_raw(root.pid.cast_signed()), None).unwrap();
        assert_eq!(root.life().unwrap(), Life::Over(Exit::Lost));
        let delivery = root.signal_group(Signal::Kill, PidState::Released);
        assert_eq!(matches!(delivery, Delivery::Sent), root.outlives_its_pid());
        // If the group cannot be signalled, the end of its input must end it.
        let _held = root.outlives_its_pid().then_some(stdin);
        wait_for_all(stdout);
    }

    #[test]
    fn a_child_that_was_reaped_before_it_could_be_opened_reaches_nobody() {
        let mut command = Command::new("/bin/true");
        let Spawned { pid, .. } = spawn(&mut command, Stdio::inherit()).unwrap();
        waitpid(Pid::from_raw(pid.cast_signed()), None).unwrap();
        let root = Root::adopt(pid).unwrap();
        assert_eq!(root.life().unwrap(), Life::Over(Exit::Lost));
        assert!(is_receiver_missing(
            &root.signal_group(Signal::Kill, PidState::Released)
        ));
        assert!(!root.outlives_its_pid());
    }
}
