//! What `reuse` says of good and bad commands, and that it leaves none of their processes behind.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by where it panics"
)]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::mpsc;
use std::thread;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{Children, CommandSpec, OneShotConnector, Signal};
use pool_testkit::census::Census;
use pool_tests::children::{OUTER_DEADLINE, block_on};
use tokio::runtime;
use tokio::time::Instant;

/// What came of a run.
struct Run {
    code: Option<i32>,
    text: String,
    picture: PathBuf,
}

impl Run {
    #[track_caller]
    fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(
                self.text.contains(part),
                "{part:?} is not in:\n{}",
                self.text
            );
        }
    }

    /// The row of a way.
    #[track_caller]
    fn cells(&self, way: &str) -> Vec<String> {
        let mut lines = self.text.lines();
        let line = lines.find(|line| line.starts_with(&format!("| {way}")));
        let line = line.unwrap_or_else(|| panic!("{way} is not in:\n{}", self.text));
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // There is none unless something could be compared.
        drop(fs::remove_file(&self.picture));
    }
}

/// Runs it, and sees that nothing lives when it has ended.
#[track_caller]
fn reuse(options: &[&str], command: &[String]) -> Run {
    let census = Census::begin();
    let picture = env::temp_dir().join(format!("reuse-{}-{}.svg", process::id(), next()));
    let spec = CommandSpec::new(REUSE)
        .args(options.iter().copied())
        .arg("--svg")
        .arg(&picture);
    let spec = match command {
        [] => spec,
        words => spec.arg("--").args(words.iter().map(String::as_str)),
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let output = runtime.block_on(async {
        let connector = OneShotConnector::new(census.mark(spec)).unwrap();
        let deadline = Instant::now() + OUTER_DEADLINE;
        let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
        let mut program = connector.connect(&cx).await.unwrap();
        let output = program.run("").within(OUTER_DEADLINE).await.unwrap();
        let left = census.processes();
        assert!(left.is_empty(), "{left:?} outlive it; it said {output:?}");
        drop(program);
        connector.children().emptied().await;
        output
    });
    Run {
        code: output.exit.status().and_then(|status| status.code()),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        picture,
    }
}

/// Numbers, none twice.
fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A command of a shell.
fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// Echoes each line.
fn echo() -> Vec<String> {
    vec!["cat".to_owned()]
}

#[test]
fn without_a_command_the_built_in_child_is_compared() {
    for framing in ["lines", "content-length", "length"] {
        let run = reuse(&["--requests", "20", "--framing", framing], &[]);
        assert_eq!(run.code, Some(0), "{}", run.text);
        run.says(&[
            "| spawn per request |",
            "| pooled ",
            "processes started",
            "peak RSS",
        ]);
        run.says(&[
            "pooled serves ",
            "times as many requests per second as spawn per request",
        ]);
        if framing == "length" {
            run.says(&["multiplexed is left out: JSON-RPC is never framed like this"]);
        } else {
            run.says(&["| multiplexed ", "multiplexed serves "]);
        }
        let picture = fs::read_to_string(&run.picture).unwrap();
        assert!(picture.starts_with("<svg"), "{picture}");
    }
}

#[test]
fn a_command_is_started_for_each_request_or_once_for_each_caller() {
    let options = [
        "--requests",
        "20",
        "--concurrency",
        "2",
        "--request",
        "hello",
    ];
    let run = reuse(&options, &echo());
    assert_eq!(run.code, Some(0), "{}", run.text);
    // Requests, and processes started.
    assert_eq!(run.cells("spawn per request")[5..7], ["20", "20"]);
    assert_eq!(run.cells("pooled")[5..7], ["20", "2"]);
}

#[test]
fn a_command_that_answers_by_id_is_started_once_for_all_callers() {
    let options = ["--requests", "20", "--concurrency", "3"];
    let run = reuse(&options, &sh(ANSWERS_BY_ID));
    assert_eq!(run.code, Some(0), "{}", run.text);
    assert_eq!(run.cells("pooled")[5..7], ["20", "3"]);
    assert_eq!(run.cells("multiplexed")[5..7], ["20", "1"]);
    assert!(!run.text.contains("left out"), "{}", run.text);
}

#[test]
fn a_command_that_does_not_answer_by_id_is_not_multiplexed_and_that_is_said() {
    let always_one = r#"{"jsonrpc":"2.0","id":1,"result":true}"#;
    let always_one = sh(&format!("while read -r line; do echo '{always_one}'; done"));
    let echo = echo();
    let no_id = r#"{"jsonrpc":"2.0","method":"ping"}"#;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let cases = [
        (
            &echo,
            ping,
            "the command does not answer with a result for the id",
        ),
        (
            &echo,
            no_id,
            "the request is not a JSON-RPC request with an id",
        ),
        (
            &always_one,
            ping,
            "the command does not answer each by its id",
        ),
    ];
    for (command, request, why) in cases {
        let options = ["--requests", "20", "--patience", "1", "--request", request];
        let run = reuse(&options, command);
        assert_eq!(run.code, Some(0), "{}", run.text);
        run.says(&["| pooled ", why]);
        let said = run.text.lines().filter(|line| line.contains("multiplexed"));
        assert_eq!(said.count(), 1, "{}", run.text);
    }
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let run = reuse(&[], &["no-such-server".to_owned()]);
    assert_eq!(run.code, Some(3), "{}", run.text);
    run.says(&[
        "cannot be started: there is no program no-such-server",
        "PATH",
    ]);
}

#[test]
fn a_command_that_exits_at_once_gives_no_answer() {
    let run = reuse(&PATIENCE, &sh("echo no licence >&2; exit 9"));
    assert_eq!(run.code, Some(5), "{}", run.text);
    run.says(&[
        "gave no answer: exit status: 9, stderr ends with: no licence",
        "check:",
    ]);
}

#[test]
fn a_command_that_exits_after_one_answer_is_told_what_starting_ahead_would_save() {
    let run = reuse(&PATIENCE, &sh("read -r line; echo $line"));
    assert_eq!(run.code, Some(4), "{}", run.text);
    run.says(&[
        "ends after one request",
        "cannot be reused",
        "starting processes ahead would save",
    ]);
}

#[test]
fn a_command_that_answers_at_the_end_of_its_input_is_told_the_same() {
    let run = reuse(&PATIENCE, &sh("cat > /dev/null; echo 3"));
    assert_eq!(run.code, Some(4), "{}", run.text);
    run.says(&[
        "answers when its input ends",
        "starting processes ahead would save",
    ]);
}

#[test]
fn a_command_that_never_answers_is_told_what_to_check() {
    let run = reuse(&PATIENCE, &sh("cat > /dev/null; sleep 600"));
    assert_eq!(run.code, Some(6), "{}", run.text);
    run.says(&[
        "printed nothing",
        "--framing",
        "--request",
        "flush",
        "--patience",
    ]);
}

/// Runs it with a command that speaks unasked. On a busy machine it can speak too late to be heard: once in a few times is
/// enough.
#[track_caller]
fn reuse_talker(options: &[&str], talker: &[String]) -> Run {
    let mut run = reuse(options, talker);
    for _ in 1..5 {
        if run.code == Some(7) {
            break;
        }
        run = reuse(options, talker);
    }
    assert_eq!(run.code, Some(7), "{}", run.text);
    run
}

#[test]
fn a_command_that_writes_junk_is_told_so() {
    let talker = sh("head -c 100000 /dev/zero | tr '\\0' x; sleep 600");
    let run = reuse_talker(&PATIENCE, &talker);
    run.says(&[
        "not an answer: it wrote this before it was asked",
        "log to stdout",
    ]);

    let options = ["--patience", "1", "--framing", "content-length"];
    let run = reuse_talker(&options, &talker);
    run.says(&["wrote something that is not an answer", "--framing"]);
}

#[test]
fn what_a_command_says_unasked_is_shown() {
    let run = reuse_talker(&PATIENCE, &sh("echo welcome; cat > /dev/null"));
    run.says(&[
        "it wrote this before it was asked: \"welcome\"",
        "handshake",
    ]);
}

#[test]
fn a_command_that_fails_later_is_not_said_to_have_given_no_answer() {
    let dies = "n=0; while [ $n -lt 20 ] && read -r line; do echo $line; n=$((n + 1)); done";
    let run = reuse(&PATIENCE, &sh(dies));
    assert_eq!(run.code, Some(5), "{}", run.text);
    run.says(&["answered at first, but failed", "exit status: 0", "check:"]);
}

#[test]
fn a_request_that_the_framing_cannot_carry_is_not_sent() {
    let run = reuse(&["--request", "two\nlines"], &[]);
    assert_eq!(run.code, Some(2), "{}", run.text);
    run.says(&["cannot be sent with this framing"]);
}

#[test]
fn a_rate_from_a_few_requests_is_not_given() {
    let run = reuse(&["--requests", "3"], &echo());
    assert_eq!(run.code, Some(8), "{}", run.text);
    run.says(&[
        "3 answered requests are too few for a rate",
        "--requests 20",
    ]);
    assert_eq!(run.cells("pooled")[2], "too few");
    assert!(!run.text.contains("times as many"), "{}", run.text);
    assert!(!run.picture.exists());
}

#[test]
fn a_quoted_command_line_is_told_to_be_separate_words() {
    let run = reuse(&[], &["cat -u".to_owned()]);
    assert_eq!(run.code, Some(3), "{}", run.text);
    run.says(&["there is no program cat -u", "separate words"]);
}

#[test]
fn the_request_is_shown_as_it_is_sent() {
    let run = reuse(&["--requests", "20", "--request", "hello"], &echo());
    run.says(&["asking cat\nrequest: \"hello\", 5 bytes, framing lines"]);
    let run = reuse(&["--request", "no-such-file.txt"], &echo());
    assert_ne!(run.code, Some(0), "{}", run.text);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let census = Census::begin();
    let fifo = env::temp_dir().join(format!("reuse-{}-{}.fifo", process::id(), next()));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("echo here > '{}'; exec sleep 600", fifo.display());
    let spec = census.mark(CommandSpec::new(REUSE).args(["--patience", "60", "--"]));
    let spec = spec.args(sh(&script));
    let children = Children::new();
    let program = block_on(children.spawn(&spec.build().unwrap())).unwrap();
    let (sender, receiver) = mpsc::channel();
    let path = fifo.clone();
    let reader = thread::spawn(move || sender.send(fs::read(path)));
    let here = receiver.recv_timeout(OUTER_DEADLINE).unwrap();
    assert_eq!(here.unwrap(), b"here\n");
    reader.join().unwrap().unwrap();

    program.signal(Signal::Interrupt).unwrap();
    let exit = block_on(program.exited());
    assert_eq!(exit.status().and_then(|status| status.code()), Some(130));
    let left = census.processes();
    assert!(left.is_empty(), "{left:?}");
    drop(program);
    block_on(children.emptied());
    fs::remove_file(&fifo).unwrap();
}

const REUSE: &str = env!("CARGO_BIN_EXE_pool-reuse");
/// Answers each request under its own id.
const ANSWERS_BY_ID: &str = r#"while read -r line; do
    id=${line#*\"id\":}; id=${id%%[!0-9]*}
    echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}"
done"#;
/// For those that would have to be waited for.
const PATIENCE: [&str; 2] = ["--patience", "1"];
