//! Hosts to which a sandbox refuses system calls.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pool_stdio::{Child, CommandSpec, KillScope, Signal, Stop, health};

use super::looks::scope_of;
use super::tell;
use crate::children::block_on;

/// Children of a host to which these calls are refused with this error.
pub(super) fn refused_pidfds(calls: &str, error: &str) {
    let calls: &[libc::c_long] = match calls {
        "open" => &[libc::SYS_pidfd_open],
        "send" => &[libc::SYS_pidfd_send_signal],
        "both" => &[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal],
        other => panic!("no such calls: {other}"),
    };
    let error = match error {
        "EPERM" => libc::EPERM,
        "ENOSYS" => libc::ENOSYS,
        other => panic!("no such error: {other}"),
    };
    refuse(calls, error).expect("a program may give up calls");
    let orderly = spawn(CommandSpec::new("cat"));
    tell("orderly", block_on(orderly.terminate(Stop::Orderly)).rung);
    let exiting = spawn(CommandSpec::new("sh").args(["-c", "exit 3"]));
    tell("exit", status(&exiting).and_then(|status| status.code()));
    let signalled = spawn(CommandSpec::new("sleep").arg("300"));
    tell("sent", signalled.signal(Signal::Terminate).is_ok());
    tell(
        "signal",
        status(&signalled).and_then(|status| status.signal()),
    );
    for scope in ["group", "tree"] {
        let script = match scope {
            "tree" => "setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null & exec cat",
            _ => "sleep 300 & echo up >&2; exec cat",
        };
        let child = spawn_script(scope_of(scope), script);
        let end = block_on(child.terminate(Stop::Force));
        tell("survivors", end.survivors);
    }
    tell("has_guardian", health().has_guardian);
    tell("refused", health().refused_signals);
}

fn status(child: &Child) -> Option<ExitStatus> {
    block_on(child.exited()).status()
}

/// Has the system refuse these calls to this thread, and to all threads that it starts.
#[expect(unsafe_code, reason = "nix has no seccomp")]
fn refuse(calls: &[libc::c_long], error: i32) -> io::Result<()> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Load the number of the call.
    let mut program = vec![instruction(0x20, 0, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).expect("it is small");
        // If it is this one, do the next thing, else skip it.
        program.push(instruction(0x15, 0, 1, number));
        program.push(instruction(
            0x06,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | error.cast_unsigned(),
        ));
    }
    program.push(instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it is short"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call takes integers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the filter lives until the call returns, which copies it.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn spawn_script(scope: KillScope, script: &str) -> Child {
    let spec = CommandSpec::new("sh").args(["-c", script]);
    let child = spawn(spec.kill_scope(scope));
    while !child.stderr_tail().text.contains("up") {
        std::thread::yield_now();
    }
    child
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}
