//! A host that starts children and ends in one of many ways.

use std::io::Write;
use std::path::Path;
use std::process::{abort, exit};
use std::thread;
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::{
    CgroupSpec, Child, CommandSpec, KillScope, LadderTimes, StdioConnector, Stop, health,
};

use super::looks::scope_of;
use crate::children::block_on;

/// Starts what the script says, says so, and ends as it is told by `ending`.
///
/// The script is run by a shell, and says `up` when all is there. What it starts carries a variable by
/// which the test finds it.
pub(super) fn end_of_the_host(ending: &str, scope: &str, script: &str) {
    let mut spec = CommandSpec::new("sh").args(["-c", script]);
    if let Some(delegated) = std::env::var_os("POOL_TEST_CGROUP") {
        spec = spec.cgroup(CgroupSpec::under(delegated));
    }
    if ending == "kill-in-termination" {
        let mut times = LadderTimes::default();
        times.eof_grace = Duration::from_secs(3600);
        spec = spec.ladder_times(times);
    }
    let spec = match scope {
        "unguarded" => spec.unguarded(),
        "unguarded-tree" => spec.kill_scope(KillScope::Tree).unguarded(),
        scope => spec.kill_scope(scope_of(scope)),
    };
    if ending == "drop-the-pool" || ending == "close-the-pool" {
        end_of_main_with_a_pool(ending, spec);
        return;
    }
    let command = spec.build().expect("there is a shell");
    let mut child = block_on(command.spawn()).expect("it starts");
    while !child.stderr_tail().text.contains("up") {
        thread::yield_now();
    }
    if scope == "unguarded-tree" {
        // Another tree, of which the guardian knows.
        let guarded = CommandSpec::new("cat").kill_scope(KillScope::Tree).build();
        forget(block_on(guarded.expect("it is there").spawn()).expect("it starts"));
    }
    if ending == "kill-in-termination" {
        child.begin_stop(Stop::Orderly);
        let root = format!("/proc/{}", child.pid());
        while Path::new(&root).exists() {
            thread::yield_now();
        }
    }
    say_up();
    match ending {
        // The test kills it.
        "kill" | "kill-with-a-fork" | "kill-in-termination" => {
            if ending == "kill-with-a-fork" {
                fork_a_bystander();
            }
            wait_for_ever();
        }
        // The first one only takes the handler of the standard library away.
        "segv" => loop {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGSEGV).expect("it can be sent");
        },
        "abort" => abort(),
        // As in a program that was built to abort on a panic.
        "panic" => {
            std::panic::set_hook(Box::new(|_| abort()));
            panic!("on purpose");
        }
        "exit" => exit(0),
        "return" => {
            // Its handle is not dropped, as in a program that keeps it in a static.
            forget(child);
        }
        "return-in-termination" => {
            let ending = child.terminate(Stop::Orderly);
            drop(ending);
        }
        other => panic!("no such ending: {other}"),
    }
}

fn end_of_main_with_a_pool(ending: &str, spec: CommandSpec) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("there is room for it");
    let mut times = LadderTimes::default();
    times.eof_grace = Duration::from_secs(20);
    runtime.block_on(async {
        let connector = StdioConnector::new(spec.ladder_times(times)).expect("there is a shell");
        let pool = ConnectionPool::builder(connector)
            .max_size(2)
            .build()
            .expect("it is valid");
        let lease = pool.acquire().await.expect("it starts");
        while !lease.process().stderr_tail().text.contains("up") {
            tokio::task::yield_now().await;
        }
        drop(lease);
        say_up();
        if ending == "close-the-pool" {
            pool.close(Duration::from_millis(100)).await;
        } else {
            drop(pool);
            // Nothing tells that the close of a dropped pool has begun. The test holds if it has not, too.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    runtime.shutdown_background();
}

#[expect(
    clippy::mem_forget,
    reason = "what a static does at the end of a program"
)]
fn forget(child: Child) {
    std::mem::forget(child);
}

/// A process that has the host's descriptors and goes on without it.
#[expect(unsafe_code, reason = "what a host does that forks")]
fn fork_a_bystander() {
    // SAFETY: the child of the fork calls nothing that needs a lock of another thread.
    match unsafe { nix::unistd::fork() }.expect("there is room for it") {
        nix::unistd::ForkResult::Child => {
            nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))
                .expect("it is no leader");
            nix::unistd::sleep(8);
            exit(0);
        }
        nix::unistd::ForkResult::Parent { .. } => {}
    }
}

pub(super) fn say_up() {
    say(b"up\n");
}

fn say(line: &[u8]) {
    let mut out = std::io::stdout();
    out.write_all(line).expect("the test reads");
    out.flush().expect("the test reads");
}

/// Says each time when there is another guardian that knows all children.
fn wait_for_ever() -> ! {
    // The first was started with the first child.
    let mut starts = 1;
    loop {
        thread::park_timeout(Duration::from_millis(5));
        let now = health().guardian_starts;
        // Order: counted when it is there, and asked after that whether it was told of all children.
        if now > starts && health().has_guardian {
            starts = now;
            say(b"gd\n");
        }
    }
}
