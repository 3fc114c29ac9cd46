//! The guardian's script by itself, and the guardian of `guard_main`: what they end, and where.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "processes that this test starts are no children of the library, and all are there"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Facts, HOST, can_make_namespaces, has_program};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use pool_tests::ended_host::{HANG, pid, wait_for};

/// The guardian's script by itself.
const SCRIPT: &str = include_str!("../../pool-stdio/src/process/guardian/guard.sh");

/// The script, after this command if there is one, with a grace of so many tenths of a second. It is told
/// of this group and that its host has gone.
fn guard(before: &str, grace: &str, group: u32) -> Child {
    let run = format!("{before} exec sh -c \"$0\" sh 7-7 {grace}");
    let mut command = if before.is_empty() {
        Command::new("sh")
    } else {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh"]);
        command
    };
    tell(
        command.args(["-c", &run, SCRIPT]),
        &format!("g 1 {group}\n"),
    )
}

/// Starts a guardian of host `7-7`, and tells it these lines and that the host has gone.
fn tell(command: &mut Command, lines: &str) -> Child {
    let command = command.process_group(0).stdin(Stdio::piped());
    let mut guard = command.spawn().unwrap();
    let mut pipe = guard.stdin.take().unwrap();
    pipe.write_all(lines.as_bytes()).unwrap();
    guard
}

/// Both kinds of guardian, with a grace of so many tenths of a second.
fn guardians(host: &str, grace: &str) -> [Command; 2] {
    let mut script = Command::new("sh");
    script.args(["-c", SCRIPT, "sh", host, grace]);
    let mut own = Command::new(HOST);
    own.args([host, grace]).env("POOL_STDIO_GUARD", "1");
    [script, own]
}

/// It ignores SIGTERM, in a group of its own, with this mark.
fn start_deaf(mark: &str) -> Child {
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' TERM; echo up; while :; do sleep 100; done"]);
    start(deaf.env("POOL_STDIO_COOKIE", format!("1-2-3t:{mark}")))
}

/// A child in a group of its own that says `up`.
fn start(command: &mut Command) -> Child {
    let command = command.process_group(0).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    child
}

/// By which signal the child ends; it is ended here if it does not.
fn ended_by(mut child: Child) -> Option<i32> {
    let status = wait_for(HANG, || child.try_wait().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    status.and_then(|status| status.signal())
}

#[test]
fn the_script_ends_groups_where_it_cannot_see_processes() {
    if !can_make_namespaces() {
        return;
    }
    let deaf = start_deaf("");
    let mut guard = guard("umount -l /proc;", "1", deaf.id());
    assert_eq!(ended_by(deaf), Some(9));
    assert!(guard.wait().unwrap().success());
}

#[test]
fn the_script_sees_a_process_whose_name_has_a_line_break() {
    let folder = new_folder(&format!("pool-name-{}", std::process::id()));
    let program = folder.join("a\nb");
    // A child of another test that is just being forked would hold a file open that this program writes, and it could
    // not be executed.
    let copied = Command::new("cp").arg("/bin/sh").arg(&program).status();
    assert!(copied.unwrap().success());
    let mut named = Command::new(&program);
    // A loop of its own: what it would start has another name.
    named.args(["-c", "echo up; while :; do read -r line <&3; done"]);
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "exec 3<>\"$1\"; shift; exec \"$@\"", "sh"]);
    let pipe = folder.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    waiting
        .arg(&pipe)
        .arg(named.get_program())
        .args(named.get_args());
    let child = start(&mut waiting);
    let mut guard = guard("", "1", child.id());
    assert_eq!(ended_by(child), Some(15));
    assert!(guard.wait().unwrap().success());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_of_the_script_is_left_when_it_leaves_before_its_grace_is_over() {
    let mut gone = start(Command::new("echo").arg("up"));
    gone.wait().unwrap();
    let mut guard = guard("", "36000", gone.id());
    assert!(guard.wait().unwrap().success());
    let group = nix::unistd::Pid::from_raw(-pid(guard.id()).as_raw());
    let has_gone = || (kill(group, None) == Err(Errno::ESRCH)).then_some(());
    if wait_for(HANG, has_gone).is_none() {
        kill(group, Signal::SIGKILL).unwrap();
        panic!("a timer is left");
    }
}

/// An empty directory for temporary files. A run that was aborted may have left one of this name.
fn new_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).unwrap();
    folder
}

/// A directory with these programs only, and a script that finds no others.
fn poor(programs: &[&str]) -> (PathBuf, Command) {
    let folder = new_folder(&format!(
        "pool-poor-{}-{}",
        std::process::id(),
        programs.len()
    ));
    for program in programs {
        let found = Command::new("which").arg(program).output().unwrap().stdout;
        let found = String::from_utf8(found).unwrap();
        symlink(found.trim_end(), folder.join(program)).unwrap();
    }
    let mut script = Command::new("/bin/sh");
    script
        .args(["-c", SCRIPT, "sh", "7-7", "1"])
        .env("PATH", &folder);
    (folder, script)
}

#[test]
fn the_script_needs_no_program_but_sleep() {
    let (folder, mut script) = poor(&["sleep"]);
    let known = start_deaf("");
    let others = ["7-7-2t", "7-7-33r", "7-7-4g"].map(start_deaf);
    let strangers = ["7-7-34r", "8-7-2t", "7-7-5g"].map(start_deaf);
    let (group, stranger) = (others[2].id(), strangers[2].id());
    // A group that has lost its root is known by its number and its mark.
    let lines = format!(
        "g 1 {}\nt 6 {}\n- 6\ns 33\nG 4 {group}\nG 9 {stranger}\n",
        known.id(),
        known.id()
    );
    let mut guard = tell(&mut script, &lines);
    for child in [known].into_iter().chain(others) {
        assert_eq!(ended_by(child), Some(9));
    }
    assert!(guard.wait().unwrap().success());
    strangers.into_iter().for_each(assert_alive);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_script_says_that_it_cannot_work_without_sleep() {
    let (folder, mut script) = poor(&[]);
    let mut guard = script.stdin(Stdio::piped()).spawn().unwrap();
    let status = wait_for(HANG, || guard.try_wait().unwrap()).unwrap();
    assert_eq!(status.code(), Some(3));
    fs::remove_dir_all(folder).unwrap();
}

#[track_caller]
fn assert_alive(mut child: Child) {
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_group_without_its_root_is_ended_only_where_its_members_carry_its_mark() {
    for mut guardian in guardians("7-7", "1") {
        let ours = start_deaf("7-7-1g");
        let strangers = ["", "7-7-1g", "7-7-2g"].map(start_deaf);
        // The second has its mark and another group, the others have its group and another mark.
        let groups = [
            (1, ours.id()),
            (3, strangers[0].id()),
            (4, strangers[2].id()),
        ];
        let lines = groups
            .map(|(child, group)| format!("G {child} {group}\n"))
            .concat();
        let mut guard = tell(&mut guardian, &lines);
        assert_eq!(ended_by(ours), Some(9));
        assert!(guard.wait().unwrap().success());
        strangers.into_iter().for_each(assert_alive);
    }
}

/// Counts each SIGTERM in this file, in a group of its own, with this mark. It blocks in the shell itself, so that two
/// signals in a row count as two.
fn start_counter(mark: &str, folder: &Path, number: usize) -> Child {
    let script = "trap 'echo term >>\"$0\"' TERM; echo up; while :; do read -r line <&3; done";
    let mut counter = Command::new("sh");
    counter
        .args(["-c", "exec 3<>\"$0\"; exec sh -c \"$@\""])
        .arg(folder.join("pipe"))
        .arg(script)
        .arg(folder.join(format!("count-{number}")))
        .env("POOL_STDIO_COOKIE", mark);
    start(&mut counter)
}

/// Found by the number of its group, as a member of a control group and by its mark, or by two of these. The control
/// groups are plain files, without a `cgroup.kill`, and one is hidden from a `*`. The host is another one than that of the
/// other tests, whose guardians would signal the marked ones, too.
#[test]
fn a_process_that_is_found_in_several_ways_gets_sigterm_once() {
    // From SIGTERM to SIGKILL there are two seconds for five shells to write a line each.
    for mut guardian in guardians("9-9", "60") {
        let folder = std::env::temp_dir().join(format!("pool-once-{}", std::process::id()));
        let (cgroup, inner) = (folder.join("a group"), folder.join("a group/.inner"));
        fs::create_dir_all(&inner).unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let marks = ["9-9-1t", "9-9-1t", "", "9-9-2t", "9-9-2t"];
        let mut numbers = 0..;
        let counters = marks.map(|mark| start_counter(mark, &folder, numbers.next().unwrap()));
        let pids = counters.each_ref().map(Child::id);
        let list = |pids: &[u32]| {
            pids.iter()
                .map(|pid| format!("{pid}\n"))
                .collect::<String>()
        };
        // The first is a root. The second and the third have left its group, and only the control group shows the
        // third. The fourth is a root without a control group, and the last has left the group of that.
        fs::write(cgroup.join("cgroup.procs"), list(&pids[..2])).unwrap();
        fs::write(inner.join("cgroup.procs"), list(&pids[2..3])).unwrap();
        let lines = format!(
            "t 1 {}\nc 1 {}\nt 2 {}\n",
            pids[0],
            cgroup.display(),
            pids[3]
        );
        let mut guard = tell(&mut guardian, &lines);
        let ended = counters.map(ended_by);
        let counts = [0, 1, 2, 3, 4].map(|number| {
            let said = fs::read_to_string(folder.join(format!("count-{number}")));
            said.unwrap_or_default()
        });
        fs::remove_dir_all(&folder).unwrap();
        guard.wait().unwrap();
        assert_eq!(ended, [Some(9); 5], "{guardian:?}");
        assert_eq!(counts, ["term\n"; 5], "{guardian:?}");
    }
}

/// A file system that does not answer hangs a process while it executes another program. Whoever reads
/// its environment then hangs too.
#[test]
fn a_process_that_nobody_can_look_into_delays_no_end_of_what_is_known_by_its_number() {
    let can = can_make_namespaces() && has_program("python3");
    if !can || !Path::new("/dev/fuse").exists() {
        return;
    }
    let script = ["sh", "-c", SCRIPT, "sh", "7-7", "1"];
    let own = ["env", "POOL_STDIO_GUARD=1", HOST, "7-7", "1"];
    for guardian in [&script[..], &own[..]] {
        let words = ["-mpf", "--mount-proc", "python3", "-c", HANGING];
        let words: Vec<&str> = words.iter().chain(guardian).copied().collect();
        let facts = Facts::of("unshare", &words);
        assert_eq!(
            (facts.one("ended_by"), facts.one("has_left")),
            ("9", "True"),
            "{guardian:?}"
        );
    }
}

const HANGING: &str = include_str!("hanging_process.py");
