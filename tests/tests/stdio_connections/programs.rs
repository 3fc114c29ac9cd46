//! Real programs that speak neither JSON-RPC nor one line per reply. What is not installed is
//! skipped, loudly.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_core::{ConnectionPool, Connector};
use pool_stdio::codec::{
    LengthLineCodec, LineCodec, PromptCodec, TerminatedLines, TerminatorCodec,
};
use pool_stdio::{
    Codec, CommandError, CommandSpec, Request, StdioConnection, StdioConnector, StdioError,
};

use crate::bed::{Bed, context, eager, give_up, on_both_runtimes};

/// A first start may read much from a slow disk.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a stopped child is waited for.
const BRIEF: Duration = Duration::from_millis(100);

/// A connector for this command, unless its program is not installed.
fn connector<C: Codec>(
    bed: &Bed,
    program: &str,
    spec: CommandSpec,
    codec: impl Fn() -> C + Send + Sync + 'static,
) -> Option<StdioConnector<C>> {
    if matches!(
        CommandSpec::new(program).build(),
        Err(CommandError::NotFound { .. })
    ) {
        skipped(program);
        return None;
    }
    let spec = bed.scene.census.mark(spec);
    Some(bed.watch(StdioConnector::with_codec(spec, codec).unwrap()))
}

#[expect(clippy::print_stderr, reason = "whoever reads the log should know")]
fn skipped(program: &str) {
    eprintln!("skipped: {program} is not installed");
}

/// A pool of one child, which starts another one as often as it must.
fn one_at_a_time<C: Codec>(connector: StdioConnector<C>) -> ConnectionPool<StdioConnection<C>> {
    let pool = eager(ConnectionPool::builder(connector)).max_size(1);
    pool.connect_timeout(LIMIT).build().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A program whose child is killed with a request pending, and then stopped. Each time that request fails, and
/// the next caller has another child and its own reply.
async fn is_replaced<C: Codec, R: PartialEq + std::fmt::Debug>(
    pool: &ConnectionPool<StdioConnection<C>>,
    ask: impl for<'c> Fn(&'c mut StdioConnection<C>) -> Request<'c, C, R>,
    is_right: impl Fn(&R) -> bool,
) {
    let mut child = pool.acquire().await.unwrap();
    let reply = ask(&mut child).within(LIMIT).await.unwrap();
    assert!(is_right(&reply), "{reply:?}");

    let pid = child.process().pid();
    signal(pid, Signal::SIGSTOP);
    let killing = async { signal(pid, Signal::SIGKILL) };
    let (outcome, ()) = tokio::join!(biased; ask(&mut child).within(LIMIT), killing);
    let error = outcome.unwrap_err();
    let report = error.report().unwrap();
    assert!(report.request_bytes_written > 0, "{error}");
    assert!(!error.is_retry_safe(), "{error}");
    drop(child);

    let mut child = pool.acquire().await.unwrap();
    assert_ne!(child.process().pid(), pid);
    let reply = ask(&mut child).within(LIMIT).await.unwrap();
    assert!(is_right(&reply), "{reply:?}");
    signal(child.process().pid(), Signal::SIGSTOP);
    let error = ask(&mut child).within(BRIEF).await.unwrap_err();
    assert!(matches!(error, StdioError::TimedOut { .. }), "{error}");
    let (stopped, exited) = (child.process().pid(), child.process().exited());
    drop(child);

    let mut child = pool.acquire().await.unwrap();
    assert_ne!(child.process().pid(), stopped);
    let reply = ask(&mut child).within(LIMIT).await.unwrap();
    assert!(is_right(&reply), "{reply:?}");
    exited.await;
}

/// Reads what a program writes before its first prompt.
fn with_greeting(connector: StdioConnector<PromptCodec>) -> StdioConnector<PromptCodec> {
    connector.handshake(|child| {
        Box::pin(async {
            child.recv().within(LIMIT).await?;
            Ok(())
        })
    })
}

fn python(bed: &Bed) -> Option<StdioConnector<PromptCodec>> {
    // Its prompt goes to stderr.
    let script = "exec python3 -iqc 'import sys; sys.ps1 = \"[ready] \"; sys.ps2 = \"\"' 2>&1";
    let spec = CommandSpec::new("sh").args(["-c", script]);
    let connector = connector(bed, "python3", spec, || PromptCodec::new("[ready] "))?;
    Some(with_greeting(connector))
}

#[test]
fn python_answers_until_its_prompt() {
    on_both_runtimes(async |bed| {
        let Some(connector) = python(bed) else {
            return;
        };
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        let ask = async |child: &mut StdioConnection<PromptCodec>, line: &str| {
            child.request(line).within(LIMIT).await.unwrap()
        };
        assert_eq!(ask(&mut child, "x = 6").await, "");
        assert_eq!(ask(&mut child, "x * 7").await, "42\n");
        assert_eq!(
            ask(&mut child, "print('no newline', end='')").await,
            "no newline"
        );
        assert!(
            ask(&mut child, "1 / 0")
                .await
                .ends_with(b"division by zero\n")
        );
        assert!(!child.is_dirty());
        drop(child);
        is_replaced(
            &pool,
            |child| child.request("6 * 7"),
            |reply| reply == "42\n",
        )
        .await;
    });
}

#[test]
fn a_reply_of_python_that_was_given_up_reaches_nobody() {
    on_both_runtimes(async |bed| {
        let Some(connector) = python(bed) else {
            return;
        };
        let connector = connector.quiet_token(
            |number| format!("print('token', {number})"),
            |number, reply| reply == &format!("token {number}\n"),
        );
        let pool = ConnectionPool::builder(connector)
            .max_size(1)
            .build()
            .unwrap();
        let mut child = pool.acquire().await.unwrap();
        let pid = child.process().pid();
        give_up(pid, child.request("print('late')")).await;
        drop(child);
        let mut child = pool.acquire().await.unwrap();
        assert_eq!(child.process().pid(), pid);
        assert_eq!(child.request("1 + 1").within(LIMIT).await.unwrap(), "2\n");
    });
}

#[test]
fn gdb_answers_until_its_prompt() {
    on_both_runtimes(async |bed| {
        let spec = CommandSpec::new("gdb").args(["-q", "-nx", "-ex", "set prompt [ready] "]);
        let Some(connector) = connector(bed, "gdb", spec, || PromptCodec::new("[ready] ")) else {
            return;
        };
        let connector = with_greeting(connector);
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        for (command, expected) in [("print 6 * 7", "$1 = 42\n"), ("output 1", "1")] {
            let reply = child.request(command).within(LIMIT).await.unwrap();
            assert_eq!(reply, expected);
        }
        drop(child);
        is_replaced(
            &pool,
            |child| child.request("output 1"),
            |reply| reply == "1",
        )
        .await;
    });
}

#[test]
fn sqlite_answers_until_the_line_it_was_told_to_print() {
    on_both_runtimes(async |bed| {
        let spec = CommandSpec::new("sqlite3").arg(":memory:");
        let codec = || TerminatorCodec::new(|line| line == b"[ready]");
        let Some(connector) = connector(bed, "sqlite3", spec, codec) else {
            return;
        };
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        let statements = [
            ("create table t (n);", ""),
            ("insert into t values (1), (2);", ""),
            ("select n from t;", "1\n2\n"),
        ];
        for (statement, expected) in statements {
            let reply = child.request(statement).and(".print [ready]").within(LIMIT);
            assert_eq!(reply.await.unwrap().body, expected);
            assert!(!child.is_dirty());
        }
        drop(child);
        is_replaced(
            &pool,
            |child| child.request("select 42;").and(".print [ready]"),
            |reply| reply.body == "42\n",
        )
        .await;
    });
}

#[test]
fn git_sends_objects_behind_a_line_with_their_length() {
    on_both_runtimes(async |bed| {
        let place = std::env::temp_dir().join(format!("pool-git-{}", std::process::id()));
        let directory = place.to_str().unwrap();
        let spec = CommandSpec::new("git").args(["-C", directory, "cat-file", "--batch"]);
        let codec = || {
            LengthLineCodec::new(|line| {
                let size = line.rsplit(|byte| *byte == b' ').next()?;
                std::str::from_utf8(size).ok()?.parse().ok()
            })
            .newline_after_body()
        };
        let Some(connector) = connector(bed, "git", spec, codec) else {
            return;
        };
        let script =
            "git init -q \"$1\" && cd \"$1\" && printf 'two\\nlines' | git hash-object -w --stdin";
        let repository = CommandSpec::new("sh").args(["-c", script, "sh", directory]);
        let made = pool_stdio::OneShotConnector::new(bed.scene.census.mark(repository)).unwrap();
        bed.note(made.children());
        let mut made = made.connect(&context()).await.unwrap();
        let output = made.run("").within(LIMIT).await.unwrap();
        let id = String::from_utf8(output.stdout.to_vec()).unwrap();
        let id = id.trim_end();

        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        for _ in 0..2 {
            let object = child.request(id).within(LIMIT).await.unwrap();
            assert_eq!(object.line, format!("{id} blob 9"));
            assert_eq!(object.body.unwrap(), "two\nlines");
            let missing = child.request("nope").within(LIMIT).await.unwrap();
            assert_eq!(
                (&missing.line[..], missing.body),
                (&b"nope missing"[..], None)
            );
        }
        drop((child, made));
        is_replaced(
            &pool,
            |child| child.request(id),
            |object| object.line.ends_with(b" blob 9"),
        )
        .await;
        std::fs::remove_dir_all(&place).unwrap();
    });
}

#[test]
fn exiftool_takes_its_arguments_line_by_line() {
    on_both_runtimes(async |bed| {
        let spec = CommandSpec::new("exiftool").args(["-stay_open", "True", "-@", "-"]);
        let codec = || TerminatorCodec::new(|line| line == b"{ready}");
        let Some(connector) = connector(bed, "exiftool", spec, codec) else {
            return;
        };
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        let reply = child
            .request("-ver")
            .and("-execute")
            .within(LIMIT)
            .await
            .unwrap();
        assert!(reply.body.contains(&b'.'), "{reply:?}");
        drop(child);
        let is_version = |reply: &TerminatedLines| reply.body.contains(&b'.');
        is_replaced(
            &pool,
            |child| child.request("-ver").and("-execute"),
            is_version,
        )
        .await;
    });
}

#[test]
fn hunspell_ends_its_replies_with_an_empty_line() {
    on_both_runtimes(async |bed| {
        let spec = CommandSpec::new("hunspell").args(["-a", "-d", "en_US"]);
        let codec = || TerminatorCodec::new(|line| line.is_empty() || line.starts_with(b"@(#)"));
        let Some(connector) = connector(bed, "hunspell", spec, codec) else {
            return;
        };
        let connector = connector.handshake(|child| {
            Box::pin(async {
                child.recv().within(LIMIT).await?;
                Ok(())
            })
        });
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        let reply = child.request("^hello wrld").within(LIMIT).await.unwrap();
        assert!(reply.body.starts_with(b"*\n& wrld "), "{reply:?}");
        drop(child);
        is_replaced(
            &pool,
            |child| child.request("^hello"),
            |reply| reply.body == "*\n",
        )
        .await;
    });
}

#[test]
fn a_chess_engine_thinks_aloud_before_its_best_move() {
    on_both_runtimes(async |bed| {
        // It says its name before it is asked anything.
        let codec = || {
            TerminatorCodec::new(|line| {
                line.starts_with(b"Stockfish ")
                    || matches!(line, b"uciok" | b"readyok")
                    || line.starts_with(b"bestmove")
            })
        };
        let spec = CommandSpec::new("stockfish");
        let Some(connector) = connector(bed, "stockfish", spec, codec) else {
            return;
        };
        let connector = connector.handshake(|child| {
            Box::pin(async {
                child.recv().within(LIMIT).await?;
                child.request("uci").within(LIMIT).await?;
                Ok(())
            })
        });
        let pool = one_at_a_time(connector);
        let mut child = pool.acquire().await.unwrap();
        let reply = child
            .request("position startpos")
            .and("go depth 5")
            .within(LIMIT);
        let reply = reply.await.unwrap();
        assert!(reply.last_line.starts_with(b"bestmove "), "{reply:?}");
        let ready = child.request("isready").within(LIMIT).await.unwrap();
        assert_eq!(ready.last_line, "readyok");
        drop(child);
        is_replaced(
            &pool,
            |child| child.request("isready"),
            |reply| reply.last_line == "readyok",
        )
        .await;
    });
}

#[test]
fn jq_answers_each_line_with_one() {
    on_both_runtimes(async |bed| {
        let spec = CommandSpec::new("jq").args(["--unbuffered", "-c", ".n + 1"]);
        let Some(connector) = connector(bed, "jq", spec, LineCodec::new) else {
            return;
        };
        let pool = one_at_a_time(connector);
        is_replaced(
            &pool,
            |child| child.request(r#"{"n":41}"#),
            |reply| reply.bytes == "42",
        )
        .await;
    });
}
