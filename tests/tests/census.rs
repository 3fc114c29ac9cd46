//! The census names each kind of thing that a test can leave behind.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "the place of a panic shows what is wrong"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use pool_stdio::{Children, CommandSpec, Signal};
use pool_testkit::census::{Census, Leftover};
use pool_tests::children::{OUTER_DEADLINE, block_on, is_readable_within};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Checks that the census finds a leftover of this kind and fails. Returns the message.
#[track_caller]
fn names(census: &Census, is_it: impl Fn(&Leftover) -> bool) -> String {
    let leftovers = census.leftovers();
    assert!(leftovers.iter().any(is_it), "{leftovers:?}");
    let check = AssertUnwindSafe(|| census.assert_clean());
    let panic = catch_unwind(check).expect_err("something is left");
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("left behind:\n"), "{text}");
    text.clone()
}

#[test]
fn a_process_that_was_left_is_named_by_its_command() {
    let census = Census::begin();
    let children = Children::new();
    let command = census.mark(CommandSpec::new("cat")).build().unwrap();
    let mut child = block_on(children.spawn(&command)).unwrap();
    // Its environment, with the mark, can be read once it runs its own code.
    let mut stdin = File::from(child.take_stdin().unwrap());
    stdin.write_all(b"ready?\n").unwrap();
    let stdout = child.take_stdout().unwrap();
    assert!(is_readable_within(stdout.as_fd(), OUTER_DEADLINE));
    let pid = child.pid();
    let text = names(
        &census,
        |left| matches!(left, Leftover::Process(process) if process.pid == pid),
    );
    assert!(
        text.contains(&format!("process {pid} (")) && text.contains("cat"),
        "{text}"
    );
    assert!(children.signal_all(Signal::Kill).is_empty());
    drop((child, stdin, stdout));
    block_on(children.emptied());
    census.assert_clean();
}

#[test]
fn a_zombie_that_was_left_is_named_as_not_reaped() {
    let census = Census::begin();
    let mut child = start("true");
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    // The pidfd is readable once the process has ended, reaped or not.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    assert!(is_readable_within(pidfd.as_fd(), OUTER_DEADLINE));
    drop(pidfd);
    let is_zombie = |left: &Leftover| matches!(left, Leftover::Child(child) if child.state == 'Z');
    let text = names(&census, is_zombie);
    assert!(
        text.contains(&format!("child {} (Z)", child.id())),
        "{text}"
    );
    assert!(text.contains("not reaped"), "{text}");
    child.wait().unwrap();
    drop(child);
    census.assert_clean();
}

#[test]
fn a_descriptor_that_was_left_is_named_with_its_target() {
    let census = Census::begin();
    let file = File::open("/proc/self/stat").unwrap();
    let text = names(&census, |left| matches!(left, Leftover::Descriptor { .. }));
    assert!(
        text.contains("descriptor ") && text.contains("/stat"),
        "{text}"
    );
    drop(file);
    census.assert_clean();
}

#[test]
fn a_thread_of_a_runtime_that_was_left_is_named() {
    let census = Census::begin();
    let (end, ended) = mpsc::channel::<()>();
    let (say, said) = mpsc::channel();
    let named = std::thread::Builder::new().name("tokio-left".into());
    let thread = named.spawn(move || {
        // Order: the thread's name is set before this code runs.
        say.send(()).unwrap();
        let _end = ended.recv();
    });
    said.recv().unwrap();
    let is_it =
        |left: &Leftover| matches!(left, Leftover::Thread { name, .. } if name == "tokio-left");
    let text = names(&census, is_it);
    assert!(text.contains("\"tokio-left\""), "{text}");
    drop(end);
    thread.unwrap().join().unwrap();
    // A thread that was joined can be listed for a moment longer.
    let is_listed = || census.leftovers().iter().any(is_it);
    for _ in (0..100_000).take_while(|_| is_listed()) {
        std::thread::yield_now();
    }
    census.assert_clean();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test needs a child that is not reaped"
)]
fn start(program: &str) -> Child {
    let mut child = Command::new(program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut nothing = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut nothing)
        .unwrap();
    child
}

#[test]
fn tasks_that_were_left_are_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let mut census = Census::begin();
    let early = runtime.spawn(std::future::pending::<()>());
    census.watch_tasks(runtime.handle());
    let late = runtime.spawn(std::future::pending::<()>());
    let text = names(&census, |left| *left == Leftover::Tasks { count: 1 });
    assert!(text.contains("1 tasks of a runtime"), "{text}");
    late.abort();
    runtime.block_on(async { late.await.unwrap_err() });
    census.assert_clean();
    drop(early);
}
