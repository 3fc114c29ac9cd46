//! A child of ours, watched and signalled by pidfd. Where the system refuses pidfds, as some sandboxes
//! do, by its pid, which is asked again and again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::pidfd::{group_flag_works, pidfd_open, pidfd_send_signal};
use crate::process::outcome::CountFailure;
use crate::process::outcome::Exit;
use crate::process::signal::Signal;
use crate::process::sys::spawned::Spawned;
use crate::process::sys::unix::{
    StdoutView, delivery, look, poll_now, signal_group_by_pid, signal_process_by_pid, wait,
};
use crate::process::sys::{Delivery, Life, Look, PidState, ProcessId};
use crate::process::terminate::KillScope;

/// A child of ours.
#[derive(Debug)]
pub(crate) struct Root {
    pid: u32,
    known_by: KnownBy,
}

#[derive(Debug)]
enum KnownBy {
    Pidfd(OwnedFd),
    /// Pidfds are refused. It means the child until it is reaped.
    Pid,
    /// Other code of this program had reaped the child before it could be opened.
    Nothing,
}

impl Root {
    /// The child that was just started.
    pub(crate) fn of(spawned: &Spawned) -> io::Result<Self> {
        Self::adopt(spawned.pid)
    }

    /// To be called before the child can have been reaped by us.
    fn adopt(pid: u32) -> io::Result<Self> {
        let known_by = match pidfd_open(pid) {
            Ok(pidfd) => KnownBy::Pidfd(pidfd),
            Err(Errno::ESRCH) => KnownBy::Nothing,
            Err(error @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                return Err(error.into());
            }
            Err(_) => KnownBy::Pid,
        };
        Ok(Self { pid, known_by })
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.known_by {
            KnownBy::Pidfd(pidfd) => Some(pidfd.as_fd()),
            KnownBy::Pid | KnownBy::Nothing => None,
        }
    }

    /// Readable from the child's exit on. `None` if the exit must be asked for.
    pub(crate) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd()
    }

    /// What one system call shows of it and of its stdout.
    pub(crate) fn look(&self, stdout: Option<StdoutView<'_>>) -> Look {
        look(self.exit_fd(), stdout)
    }

    /// Those that live of its group besides it, where that takes no scan of all processes.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn members(&self) -> Option<Result<Vec<ProcessId>, CountFailure>> {
        None
    }

    /// Whether it runs. Does not reap it.
    pub(crate) fn life(&self) -> io::Result<Life> {
        self.wait(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    }

    /// Whether it is dead, also if its status cannot be had yet: the process that traces it comes first.
    pub(crate) fn is_dead(&self) -> bool {
        self.exit_fd()
            .is_some_and(|exit| poll_now([exit])[0].is_ready)
    }

    /// The same, and frees its pid if it has exited.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        self.wait(libc::WEXITED | libc::WNOHANG)
    }

    fn wait(&self, flags: libc::c_int) -> io::Result<Life> {
        match &self.known_by {
            KnownBy::Pidfd(pidfd) => wait(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned(), flags),
            KnownBy::Pid => wait(libc::P_PID, self.pid, flags),
            KnownBy::Nothing => Ok(Life::Over(Exit::Lost)),
        }
    }

    /// Reaps a dead member of its group that is our child, if there is one. Only after the root itself
    /// was reaped.
    pub(crate) fn reap_member(&self) -> bool {
        let flags = libc::WEXITED | libc::WNOHANG;
        let reaped = wait(libc::P_PGID, self.pid, flags);
        matches!(reaped, Ok(Life::Over(Exit::Status(_))))
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        matches!(self.wait(flags), Ok(Life::Over(Exit::Status(_))))
    }

    /// To the child alone.
    pub(crate) fn signal(&self, signal: Signal, pid_state: PidState) -> Delivery {
        let by_pid = || signal_process_by_pid(self.pid, Some(signal));
        let sent = match &self.known_by {
            KnownBy::Pidfd(pidfd) => delivery(pidfd_send_signal(pidfd.as_fd(), Some(signal), 0)),
            KnownBy::Pid if pid_state == PidState::Held => return by_pid(),
            KnownBy::Pid | KnownBy::Nothing => return Delivery::NoReceiver,
        };
        match sent {
            // It may be the call that is refused, and not the signal.
            Delivery::Refused(_) if pid_state == PidState::Held => by_pid(),
            Delivery::Sent
            | Delivery::NoReceiver
            | Delivery::NoCounterpart
            | Delivery::Refused(_) => sent,
        }
    }

    /// To every member of the group that the child was started in.
    pub(crate) fn signal_group(&self, signal: Signal, pid_state: PidState) -> Delivery {
        self.to_group(Some(signal), pid_state)
    }

    /// There are no jobs: processes are found by their group and parents.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn job_bytes(&self, _: KillScope) -> Option<u64> {
        None
    }

    /// Whether the group can be signalled and looked at after the root was reaped.
    pub(crate) fn outlives_its_pid(&self) -> bool {
        self.pidfd().is_some_and(group_flag_works)
    }

    /// Whether the group is empty, as far as can be told without a look at each process. Zombies
    /// count as members, so `false` proves nothing.
    pub(crate) fn group_is_empty(&self, pid_state: PidState) -> bool {
        matches!(self.to_group(None, pid_state), Delivery::NoReceiver)
    }

    fn to_group(&self, signal: Option<Signal>, pid_state: PidState) -> Delivery {
        if let Some(pidfd) = self.pidfd()
            && group_flag_works(pidfd)
        {
            let flags = libc::PIDFD_SIGNAL_PROCESS_GROUP;
            return delivery(pidfd_send_signal(pidfd, signal, flags));
        }
        match pid_state {
            PidState::Held => signal_group_by_pid(self.pid, signal),
            PidState::Released => Delivery::NoReceiver,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::io::Read;
    use std::path::Path;

    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    use super::*;
    use crate::process::sys::holds_group;
    use crate::process::sys::linux::posix_spawn::spawn;
    use crate::process::sys::linux::proc_table::processes;
    use crate::process::sys::spawn::{Mask, Place, Start, StartLimits, StderrEnd, StdoutEnd};
    use crate::process::sys::unix::{Ready, poll};
    use crate::process::terminate::KillScope;

    fn start(program: &str, args: &[&str]) -> Spawned {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        spawn(&Start {
            program: Path::new(program),
            arg0: None,
            args: &args,
            environment: &std::env::vars_os().collect(),
            directory: None,
            stdout: StdoutEnd::Pipe,
            stderr: StderrEnd::Inherited,
            place: Place::Group,
            mask: Mask::None,
            scope: KillScope::Group,
            limits: StartLimits::default(),
            ends_with_host: false,
        })
        .unwrap()
    }

    /// A shell that runs this, with our ends of its pipes. Its descendants hold the second.
    fn shell(script: &str) -> (Root, OwnedFd, fs::File) {
        let Spawned {
            pid, stdin, stdout, ..
        } = start("/bin/sh", &["-c", script]);
        (Root::adopt(pid).unwrap(), stdin, stdout.unwrap().into())
    }

    /// Leaves a member in the group that waits for the end of its input.
    const LEAVE_A_MEMBER: &str = "exec 3<&0; cat <&3 & exit 0";

    fn wait_for_exit(root: &Root) {
        let fd = root.exit_fd().unwrap();
        poll(&[(fd, Ready::ToRead)], None).unwrap();
    }

    /// Waits until no process holds the pipe.
    fn wait_for_all(mut pipe: fs::File) {
        pipe.read_to_end(&mut Vec::new()).unwrap();
    }

    fn is_receiver_missing(delivery: &Delivery) -> bool {
        matches!(delivery, Delivery::NoReceiver)
    }

    /// How many living members a group has.
    fn members(group: u32) -> usize {
        let all = processes().unwrap().into_iter();
        all.filter(|one| one.group == group && !one.is_dead).count()
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
            assert_eq!(members(root.pid), 1);
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
        while members(root.pid) > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_number_of_a_reaped_root_is_its_groups_until_the_last_member_has_gone() {
        let (root, stdin, stdout) = shell(LEAVE_A_MEMBER);
        wait_for_exit(&root);
        assert!(holds_group(&root, PidState::Held));
        root.reap().unwrap();
        assert_eq!(
            holds_group(&root, PidState::Released),
            root.outlives_its_pid()
        );
        drop(stdin);
        wait_for_all(stdout);

        let (root, _stdin, _stdout) = shell("exit 0");
        wait_for_exit(&root);
        root.reap().unwrap();
        assert!(!holds_group(&root, PidState::Released));
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
        let Spawned { pid, .. } = start("/bin/true", &[]);
        waitpid(Pid::from_raw(pid.cast_signed()), None).unwrap();
        let root = Root::adopt(pid).unwrap();
        assert_eq!(root.life().unwrap(), Life::Over(Exit::Lost));
        assert!(is_receiver_missing(
            &root.signal_group(Signal::Kill, PidState::Released)
        ));
        assert!(!root.outlives_its_pid());
    }
}
