//! Terminations while looking for survivors is difficult.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pool_stdio::{CgroupSpec, Child, CommandSpec, KillScope, LadderTimes, Stop};

use super::tell;
use crate::children::{OUTER_DEADLINE, block_on, is_readable_within};

/// A wrapper leaves at the end of its input, and what it started does not.
pub(super) fn end_of_a_wrapper(scope: &str, condition: &str) {
    let script = match condition {
        // Its first thread ends, and another goes on.
        "threads" => format!("python3 -c '{LEAVE_THE_FIRST_THREAD}' & exec cat"),
        // Its environment cannot be read, and it leaves the group.
        "unreadable" => format!("setsid perl -e '{BECOME_UNREADABLE}' & exec cat"),
        "unreadable-orphan" => format!("(setsid perl -e '{BECOME_UNREADABLE}' &) ; exec cat"),
        // It goes on in another process again and again.
        "hopping" => format!("{HOPPER} & echo up; exec cat"),
        // And another one lets it go on whenever it is stopped, until the group is empty.
        "continued" => format!(
            "{HOPPER} & setsid perl -e '1 while kill CONT => -$ARGV[0]' $$ >/dev/null & echo up; exec cat"
        ),
        // It leaves the process group, not the control group.
        "grouped" => String::from("setsid sleep 60 & echo up; exec cat"),
        _ => String::from("sleep 60 & echo up; exec cat"),
    };
    let mut spec = CommandSpec::new("sh").args(["-c", &script]);
    if let Some(delegated) = std::env::var_os("POOL_TEST_CGROUP") {
        spec = spec.cgroup(CgroupSpec::under(delegated));
    }
    let kill_wait = match condition {
        // It leaves many dead, which make scans slow.
        "hopping" | "continued" => OUTER_DEADLINE,
        _ => Duration::from_millis(500),
    };
    let spec = spec.kill_scope(scope_of(scope));
    let term_grace = match condition {
        // Not all of it acts on SIGTERM, or nobody can see that it has.
        "unreadable-orphan" | "hopping" | "continued" | "no-proc" | "foreign" | "grouped" => {
            Duration::from_secs(1)
        }
        _ => OUTER_DEADLINE,
    };
    let mut child = spawn_within(spec, term_grace, kill_wait);
    let stdout = child.take_stdout().expect("nothing else took it");
    let mut said = String::new();
    while !said.ends_with('\n') {
        said += &read_some(&stdout);
    }
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has it");
    let lowered = match condition {
        "descriptors" => lowest_free_number(),
        // Below most of those that are open.
        "no-descriptors" => 3,
        _ => limits.0,
    };
    setrlimit(Resource::RLIMIT_NOFILE, lowered, limits.1).expect("lowering is allowed");
    let end = block_on(child.terminate(Stop::Orderly));
    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("it was so before");
    tell("rung", end.rung);
    tell("found", end.survivors_found);
    tell("survivors", end.survivors);
    tell("all_gone", is_at_end(&stdout, Duration::from_millis(200)));
}

fn lowest_free_number() -> u64 {
    let free = File::open("/dev/null").expect("every system has it");
    u64::try_from(free.as_raw_fd()).expect("it is positive")
}

/// Perl blocks signals while it forks, so a SIGTERM can miss the process that goes on.
const HOPPER: &str = "perl -e '$SIG{HUP} = \"IGNORE\"; fork and exit while 1'";

const LEAVE_THE_FIRST_THREAD: &str = "import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print(\"up\", flush=True)
number = {\"x86_64\": 60, \"aarch64\": 93}[platform.machine()]
ctypes.CDLL(None).syscall(number, 0)";

const BECOME_UNREADABLE: &str = "my $number = `uname -m` eq \"aarch64\\n\" ? 167 : 157;
syscall($number, 4, 0, 0, 0, 0); $| = 1; print \"up\\n\"; sleep 60";

/// So many children with a daemon each, ended at once.
pub(super) fn many_ends(count: usize) {
    let script = "setsid sh -c 'echo up >&2; exec sleep 60' >/dev/null </dev/null & exec cat";
    let children: Vec<Child> = (0..count)
        .map(|_| {
            let spec = CommandSpec::new("sh").args(["-c", script]);
            let spec = spec.kill_scope(KillScope::Tree);
            let child = spawn_within(spec, OUTER_DEADLINE, OUTER_DEADLINE);
            while !child.stderr_tail().text.contains("up") {
                std::thread::yield_now();
            }
            child
        })
        .collect();
    #[expect(clippy::disallowed_methods, reason = "real children take real time")]
    let begun = Instant::now();
    let ends: Vec<_> = children
        .into_iter()
        .map(|child| child.terminate(Stop::Orderly))
        .collect();
    let ends: Vec<_> = ends.into_iter().map(block_on).collect();
    tell("millis", begun.elapsed().as_millis());
    for end in ends {
        tell("rung", end.rung);
        tell("found", end.survivors_found);
        tell("survivors", end.survivors);
    }
}

pub(super) fn scope_of(word: &str) -> KillScope {
    match word {
        "root" => KillScope::Root,
        "group" => KillScope::Group,
        "tree" => KillScope::Tree,
        other => panic!("no such scope: {other}"),
    }
}

/// With graces that a test can wait out. A scan can take long on a busy machine: what acts on SIGTERM is
/// found to have gone by its answer.
fn spawn_within(spec: CommandSpec, term_grace: Duration, kill_wait: Duration) -> Child {
    let mut times = LadderTimes::default();
    times.eof_grace = Duration::from_millis(300);
    times.term_grace = term_grace;
    times.kill_wait = kill_wait;
    let command = spec
        .ladder_times(times)
        .build()
        .expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}

fn read_some(pipe: &OwnedFd) -> String {
    assert!(
        is_readable_within(pipe.as_fd(), OUTER_DEADLINE),
        "nothing said"
    );
    let mut pipe = File::from(pipe.try_clone().expect("there is a number for it"));
    let mut bytes = [0; 256];
    let count = pipe.read(&mut bytes).expect("it is readable");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

/// Whether no process holds the other end, in a moment.
fn is_at_end(pipe: &OwnedFd, within: Duration) -> bool {
    is_readable_within(pipe.as_fd(), within) && read_some(pipe).is_empty()
}
