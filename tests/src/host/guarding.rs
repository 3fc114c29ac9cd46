//! Hosts whose guardian is lost, stopped, has too many rights, or too small a pipe.

use std::fs;
use std::os::unix::process::CommandExt;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, Uid, setresuid};
use pool_stdio::{Child, CommandSpec, Stop, health};

use super::{death, tell};
use crate::children::block_on;

/// The host gives up its rights.
pub(super) fn other_user() {
    let first = spawn(CommandSpec::new("cat"));
    let third = spawn(CommandSpec::new("cat"));
    let before = guardians();
    let nobody = Uid::from_raw(65534);
    setresuid(nobody, nobody, nobody).expect("it has the right");
    let second = spawn(CommandSpec::new("cat"));
    // It cannot be killed any more, but its input ends after that.
    tell("killed", block_on(third.terminate(Stop::Force)).exit);
    tell("refusals", health().refused_signals > 0);
    let mut after = guardians();
    while after.len() > 1 {
        thread::yield_now();
        after = guardians();
    }
    tell(
        "before",
        before.iter().map(|(_, user)| *user).collect::<Vec<_>>(),
    );
    tell(
        "after",
        after.iter().map(|(_, user)| *user).collect::<Vec<_>>(),
    );
    tell("is_another", before[0].0 != after[0].0);
    tell("starts", health().guardian_starts);
    block_on(second.terminate(Stop::Force));
    // It cannot be signalled any more, but acts on the end of its input.
    tell("refused", first.signal(pool_stdio::Signal::Kill).is_err());
    tell("rung", block_on(first.terminate(Stop::Orderly)).rung);
}

/// The guardians of this process: pid and user.
fn guardians() -> Vec<(u32, u32)> {
    let all = fs::read_dir("/proc").expect("it is mounted").flatten();
    let ours = all.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace()
                .nth(usize::from(name == "Uid:"))?
                .parse::<u32>()
                .ok()
        };
        let is_ours = field("PPid:")? == std::process::id() && line.contains("Ends the children");
        is_ours.then_some((field("Pid:")?, field("Uid:")?))
    });
    ours.collect()
}

/// The host gives up its rights, and starts no child after that.
pub(super) fn idle_other_user() {
    let child = spawn(CommandSpec::new("cat"));
    let last = spawn(CommandSpec::new("cat"));
    let nobody = Uid::from_raw(65534);
    setresuid(nobody, nobody, nobody).expect("it has the right");
    block_on(child.terminate(Stop::Orderly));
    let users = || {
        let users = guardians().into_iter().map(|(_, user)| user);
        users.collect::<Vec<_>>()
    };
    wait_until(|| users() == [65534]);
    tell("users", users());
    drop(last);
}

/// The guardian dies while no other can be started.
pub(super) fn lost_guardian() {
    let child = spawn(CommandSpec::new("cat"));
    let guardian = Pid::from_raw(guardians()[0].0.cast_signed());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has it");
    // Below most of those that are open.
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("lowering is allowed");
    kill(guardian, Signal::SIGKILL).expect("it is our child");
    wait_until(|| !health().has_guardian);
    // Returns after a start was tried.
    pool_stdio::prepare().expect("the threads run");
    tell("without", health().has_guardian);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("it was so before");
    wait_until(|| health().has_guardian);
    tell("starts", health().guardian_starts);
    tell("rung", block_on(child.terminate(Stop::Orderly)).rung);
}

/// The guardian is stopped while children run.
pub(super) fn stopped_guardian() {
    let child = spawn(CommandSpec::new("cat"));
    let guardian = guardians()[0].0;
    kill(Pid::from_raw(guardian.cast_signed()), Signal::SIGSTOP).expect("it is our child");
    let stat = format!("/proc/{guardian}/stat");
    wait_until(|| fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    block_on(child.terminate(Stop::Orderly));
    wait_until(|| health().guardian_starts == 2 && health().has_guardian);
    tell("starts", health().guardian_starts);
}

/// The system itself reaps a child, whose number another process gets. Then the host dies.
#[expect(unsafe_code, reason = "what hosts do that care for no child")]
pub(super) fn reused_number() {
    // SAFETY: there is no handler, so nothing runs at the time of a signal.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.expect("every program may");
    let child = spawn(CommandSpec::new("cat"));
    let number = Pid::from_raw(child.pid().cast_signed());
    kill(number, Signal::SIGKILL).expect("it is our child");
    tell("exit", block_on(child.exited()));
    tell("guardian", guardians()[0].0);
    // The system gives numbers in turn.
    fs::write(
        "/proc/sys/kernel/ns_last_pid",
        (child.pid() - 1).to_string(),
    )
    .expect("it is a namespace of ours");
    #[expect(
        clippy::disallowed_methods,
        reason = "a process that is no business of ours"
    )]
    let stranger = std::process::Command::new("sleep")
        .arg("300")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .expect("every Unix has it");
    assert_eq!(stranger.id(), child.pid());
    tell("stranger", stranger.id());
    kill(Pid::this(), Signal::SIGKILL).expect("nothing forbids it");
}

/// A host whose children have so many pipes that the user's new ones are small. Its guardian is replaced,
/// and the new one must be told of all children.
pub(super) fn many_children() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has it");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raising is allowed so far");
    let spec = CommandSpec::new("sleep").arg("300");
    let children: Vec<Child> = (0..900).map(|_| spawn(spec.clone())).collect();
    let guardian = Pid::from_raw(guardians()[0].0.cast_signed());
    kill(guardian, Signal::SIGKILL).expect("it is our child");
    wait_until(|| health().guardian_starts == 2 && health().has_guardian);
    death::say_up();
    thread::park();
    drop(children);
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}
