//! The end of a child in the words of the protocol.

use std::process::ExitStatus;

use pool_stdio::{Exit, Rung, Signal, Survivors, Termination};

use crate::protocol::{ExitReport, RungReport, SurvivorReport};

/// How a child exited.
pub(crate) fn exit_report(exit: Exit) -> ExitReport {
    let status = exit.status();
    ExitReport {
        // Codes of Windows have 32 bits, and no sign.
        code: status
            .and_then(|status| status.code())
            .map(i32::cast_unsigned),
        signal: status.and_then(signal_of_status),
    }
}

#[cfg(unix)]
fn signal_of_status(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map(signal_name)
}

#[cfg(windows)]
const fn signal_of_status(_: ExitStatus) -> Option<String> {
    None
}

/// Which step ended the last process.
pub(crate) const fn rung_report(rung: Rung) -> RungReport {
    match rung {
        Rung::Eof => RungReport::Eof,
        Rung::Term => RungReport::Term,
        Rung::Kill => RungReport::Kill,
        // This program never forks.
        Rung::AlreadyGone | Rung::NotOurs | _ => RungReport::AlreadyGone,
    }
}

/// What outlived the end.
pub(crate) fn survivor_report(termination: &Termination) -> SurvivorReport {
    let (count, unknown_because) = match termination.survivors {
        Survivors::Known(count) => (Some(count as u64), None),
        Survivors::Unknown(why) => (None, Some(why.to_string())),
    };
    SurvivorReport {
        count,
        unknown_because,
        pids: termination.survivor_pids.clone(),
    }
}

/// The signal of this name.
pub(crate) fn signal_of(name: &str) -> Option<Signal> {
    let found = SENDABLE.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal)
}

/// The names of the signals that can be sent on this system.
pub(crate) fn signal_names() -> Vec<&'static str> {
    let is_there = |signal| cfg!(unix) || matches!(signal, Signal::Kill | Signal::Terminate);
    let there = SENDABLE.iter().filter(|(_, signal)| is_there(*signal));
    there.map(|(name, _)| *name).collect()
}

#[cfg(unix)]
fn signal_name(number: i32) -> String {
    let found = NUMBERS.iter().find(|(_, known)| *known == number);
    found.map_or_else(|| format!("SIG{number}"), |(name, _)| (*name).to_owned())
}

const SENDABLE: [(&str, Signal); 14] = [
    ("SIGHUP", Signal::HangUp),
    ("SIGINT", Signal::Interrupt),
    ("SIGQUIT", Signal::Quit),
    ("SIGABRT", Signal::Abort),
    ("SIGKILL", Signal::Kill),
    ("SIGUSR1", Signal::User1),
    ("SIGUSR2", Signal::User2),
    ("SIGPIPE", Signal::BrokenPipe),
    ("SIGALRM", Signal::Alarm),
    ("SIGTERM", Signal::Terminate),
    ("SIGCONT", Signal::Continue),
    ("SIGSTOP", Signal::Stop),
    ("SIGTSTP", Signal::Suspend),
    ("SIGWINCH", Signal::WindowChange),
];

/// What can end a process, with the numbers of this system.
#[cfg(unix)]
const NUMBERS: [(&str, i32); 22] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGIO", libc::SIGIO),
    ("SIGSYS", libc::SIGSYS),
    ("SIGTTIN", libc::SIGTTIN),
];

#[cfg(all(test, windows))]
mod tests {
    use std::os::windows::process::ExitStatusExt;

    use super::*;

    /// As the system and Node write it, for example after an access violation.
    #[test]
    fn an_exit_code_of_windows_has_no_sign() {
        let status = ExitStatus::from_raw(0xC000_0005);
        assert_eq!(exit_report(Exit::Status(status)).code, Some(0xC000_0005));
    }
}
