//! What holds for children on every system: on Windows these run under Wine, on Linux as all tests do.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use pool_core::{ConnectionPool, SharedPool};
use pool_stdio::{
    Child, Children, CommandSpec, Drain, Exit, JsonRpcConnector, KillScope, LadderTimes, LineSink,
    OneShotConnector, Protocol, Rung, Signal, SpawnError, StderrPolicy, StdioConnector, Stop,
    Survivors,
};
use pool_testkit::fixture::{Behaviour, ChildStdio, Step, Stream};

const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");
const HOST: &str = env!("CARGO_BIN_EXE_pool-brief-host");
/// Nothing here takes seconds: this ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(100);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system allows it");
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("it hangs") })
}

fn spec(behaviour: &Behaviour) -> CommandSpec {
    behaviour.command(FIXTURE)
}

async fn start(behaviour: &Behaviour) -> Child {
    spec(behaviour)
        .build()
        .expect("the system allows it")
        .spawn()
        .await
        .expect("the system allows it")
}

/// Processes announce themselves here, and are dead when their connection ends.
struct Beacons {
    listener: TcpListener,
}

impl Beacons {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system allows it");
        Self { listener }
    }

    fn address(&self) -> String {
        self.listener
            .local_addr()
            .expect("the system allows it")
            .to_string()
    }

    /// Waits until so many processes live.
    fn lit(&self, count: usize) -> Vec<TcpStream> {
        let lit = (0..count).map(|_| {
            let (stream, _) = self.listener.accept().expect("the system allows it");
            stream
                .set_read_timeout(Some(LIMIT))
                .expect("the system allows it");
            let mut line = String::new();
            BufReader::new(&stream)
                .read_line(&mut line)
                .expect("the system allows it");
            let second = Duration::from_secs(1);
            stream
                .set_read_timeout(Some(second))
                .expect("the system allows it");
            stream
        });
        lit.collect()
    }
}

/// Waits until the process is dead. The connection of one that was killed may be reset.
fn wait_for_death(mut beacon: TcpStream, what: &str) {
    for _ in 0..LIMIT.as_secs() {
        match beacon.read(&mut [0]) {
            Ok(count) => return assert_eq!(count, 0, "it says nothing more: {what}"),
            // Each read waits for a second.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}"),
        }
    }
    panic!("it lives: {what}");
}

fn brief() -> LadderTimes {
    let mut times = LadderTimes::default();
    times.eof_grace = Duration::from_millis(50);
    times.term_grace = Duration::from_millis(50);
    times
}

#[test]
fn a_child_that_reads_ends_with_its_input_and_what_it_wrote_is_drained() {
    run(async {
        let mut child = start(&Behaviour::echo()).await;
        assert!(child.is_alive());
        let stdin = child.take_stdin().unwrap();
        child.return_stdin(stdin, b"last words\n".to_vec());
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
        assert_eq!((end.drain, end.discarded_bytes), (Drain::Complete, 11));
        assert!(end.exit.status().unwrap().success());
        assert_eq!(
            (end.survivors_found, end.survivors),
            (0, Survivors::Known(0))
        );
        assert!(!end.pipe_held);
    });
}

#[test]
fn more_unwritten_input_than_a_pipe_holds_is_flushed_before_the_end_of_input() {
    run(async {
        let mut times = LadderTimes::default();
        times.flush = LIMIT;
        let echo = spec(&Behaviour::echo()).ladder_times(times);
        let mut child = echo.build().unwrap().spawn().await.unwrap();
        let stdin = child.take_stdin().unwrap();
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        child.return_stdin(stdin, line.repeat(1000));
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
        assert_eq!(end.discarded_bytes, 1_000_000);
    });
}

#[test]
fn input_that_nobody_reads_is_reported_as_unwritten() {
    run(async {
        let hung = spec(&Behaviour::new().hang()).ladder_times(brief());
        let mut child = hung.build().unwrap().spawn().await.unwrap();
        let stdin = child.take_stdin().unwrap();
        child.return_stdin(stdin, vec![b'x'; 1_000_000]);
        let end = child.terminate(Stop::Orderly).await;
        assert!(
            matches!(end.rung, Rung::Term | Rung::Kill),
            "{:?}",
            end.rung
        );
        assert!(end.unwritten_bytes > 500_000, "{}", end.unwritten_bytes);
    });
}

#[test]
fn an_exit_is_seen_with_its_exact_code_and_all_of_stderr() {
    run(async {
        // 259 is what Windows says of a process that still runs.
        for code in [0_i32, 1, 7, 255, 259, 0x8000, i32::MAX, i32::MIN, -1] {
            let mut child = start(&Behaviour::new().then(Step::ServeRpc)).await;
            let stdin = child.take_stdin().unwrap();
            let request = format!("{{\"id\":1,\"method\":\"exit\",\"params\":[{code}]}}\n");
            child.return_stdin(stdin, request.into_bytes());
            let end = child.terminate(Stop::Orderly).await;
            let seen = end.exit.status().unwrap().code();
            let expected = if cfg!(windows) { code } else { code & 0xff };
            assert_eq!(seen, Some(expected));
            assert_eq!(end.stderr.text, "told to exit\n");
        }
    });
}

#[test]
fn an_exit_is_an_event_and_stderr_is_complete_by_then() {
    run(async {
        let noisy = Step::Flood {
            stream: Stream::Stderr,
            bytes: 60_000,
        };
        let child = start(&Behaviour::new().then(noisy).exit(3)).await;
        let Exit::Status(status) = child.exited().await else {
            panic!("nothing else waits for it");
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(child.stderr_tail().bytes_total, 60_000);
        assert!(!child.is_alive());
        assert_eq!(child.terminate(Stop::Orderly).await.rung, Rung::AlreadyGone);
    });
}

#[test]
fn more_children_than_a_thread_can_wait_for_at_once_are_all_seen_to_exit() {
    run(async {
        let set = Children::new();
        let command = spec(&Behaviour::echo()).build().unwrap();
        let mut children = Vec::new();
        for _ in 0..80 {
            children.push(set.spawn(&command).await.unwrap());
        }
        for child in &mut children {
            assert_eq!(child.try_wait(), None);
            drop(child.take_stdin());
        }
        for child in &children {
            assert!(child.exited().await.status().unwrap().success());
        }
        drop(children);
        set.emptied().await;
    });
}

#[test]
fn children_that_are_started_at_once_do_not_hold_each_others_pipes() {
    run(async {
        let command = spec(&Behaviour::echo()).build().unwrap();
        let starts: Vec<_> = (0..12).map(|_| command.spawn()).collect();
        let mut children = Vec::new();
        for start in starts {
            children.push(start.await.unwrap());
        }
        // While all others live, each sees the end of its own input.
        while let Some(mut child) = children.pop() {
            drop(child.take_stdin());
            assert!(child.exited().await.status().unwrap().success());
        }
    });
}

/// What the tree-kill matrix calls M1, M2, M3, M7 and M9.
fn trees(beacon: &str) -> [(&'static str, Behaviour, usize); 5] {
    let leaf = || Behaviour::new().announce(beacon, "leaf").hang();
    let deaf = || {
        Behaviour::new()
            .then(Step::IgnoreTerminate)
            .announce(beacon, "deaf")
            .hang()
    };
    let apart = |child, count| Step::Start {
        child,
        count,
        stdio: ChildStdio::Null,
    };
    [
        (
            "a child and a grandchild",
            Behaviour::new().start(leaf()).hang(),
            1,
        ),
        (
            "a grandchild that ignores SIGTERM",
            Behaviour::new().start(deaf()).hang(),
            1,
        ),
        (
            "a grandchild whose parent has left",
            Behaviour::new()
                .then(apart(Behaviour::new().start(deaf()).exit(0), 1))
                .hang(),
            1,
        ),
        (
            "a grandchild whose root has left",
            Behaviour::new().then(apart(deaf(), 1)).exit(0),
            1,
        ),
        (
            "thirty grandchildren",
            Behaviour::new().then(apart(leaf(), 30)).hang(),
            30,
        ),
    ]
}

#[test]
fn no_process_of_a_tree_outlives_an_end_however_it_is_ended() {
    for stop in [Stop::Force, Stop::Orderly] {
        let beacons = Beacons::new();
        for (tree, behaviour, count) in trees(&beacons.address()) {
            run(async {
                let command = spec(&behaviour).ladder_times(brief()).build().unwrap();
                let child = command.spawn().await.unwrap();
                let lit = beacons.lit(count);
                let end = child.terminate(stop).await;
                assert_eq!(end.survivors, Survivors::Known(0), "{tree} {stop:?}");
                let what = format!("{tree} {stop:?}");
                lit.into_iter()
                    .for_each(|beacon| wait_for_death(beacon, &what));
            });
        }
    }
}

#[test]
fn scope_root_leaves_the_rest_running() {
    run(async {
        let beacons = Beacons::new();
        let leaf = Behaviour::new()
            .announce(beacons.address(), "leaf")
            .then_echo();
        let child = Step::Start {
            child: leaf,
            count: 1,
            stdio: ChildStdio::Inherited,
        };
        let behaviour = Behaviour::new().then(child).hang();
        let command = spec(&behaviour)
            .kill_scope(KillScope::Root)
            .build()
            .unwrap();
        let mut child = command.spawn().await.unwrap();
        let mut lit = beacons.lit(1);
        // The leaf reads from the same pipe, and lives until we close it.
        let stdin = child.take_stdin().unwrap();
        let end = child.terminate(Stop::Force).await;
        assert_eq!((end.rung, end.survivors), (Rung::Kill, Survivors::Known(0)));
        let beacon = lit.pop().unwrap();
        beacon.set_nonblocking(true).unwrap();
        let error = (&beacon).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "it lives");
        beacon.set_nonblocking(false).unwrap();
        drop(stdin);
        wait_for_death(beacon, "the leaf");
    });
}

#[test]
fn a_dropped_handle_ends_the_tree() {
    run(async {
        let beacons = Beacons::new();
        let leaf = Behaviour::new().announce(beacons.address(), "leaf").hang();
        let child = start(&Behaviour::new().start(leaf).hang()).await;
        let lit = beacons.lit(1);
        drop(child);
        lit.into_iter()
            .for_each(|beacon| wait_for_death(beacon, "it lives on"));
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the host is no child of the pool"
)]
fn no_process_of_a_tree_outlives_the_host_that_is_killed() {
    let beacons = Beacons::new();
    let deaf = Behaviour::new()
        .then(Step::IgnoreTerminate)
        .announce(beacons.address(), "deaf")
        .hang();
    let root = Behaviour::new()
        .announce(beacons.address(), "root")
        .start(deaf)
        .hang();
    let mut host = std::process::Command::new(HOST)
        .args([FIXTURE, &root.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lit = beacons.lit(2);
    host.kill().unwrap();
    host.wait().unwrap();
    lit.into_iter()
        .for_each(|beacon| wait_for_death(beacon, "it lives on"));
}

#[test]
fn all_of_a_set_are_terminated_and_no_more_are_started() {
    run(async {
        let set = Children::new();
        let command = spec(&Behaviour::new().hang()).build().unwrap();
        let first = set.spawn(&command).await.unwrap();
        let second = set.spawn(&command).await.unwrap();
        let report = set.terminate_all(Duration::ZERO).await;
        assert_eq!((report.ended, report.left.len()), (2, 0));
        assert!(matches!(set.spawn(&command).await, Err(SpawnError::Closed)));
        drop((first, second));
    });
}

#[test]
fn stderr_lines_reach_their_sink() {
    run(async {
        let (sender, lines) = mpsc::channel();
        let sink = LineSink::Callback(Arc::new(move |line| {
            drop(sender.send((line.pid, line.text.to_owned())));
        }));
        let child = spec(&Behaviour::new().print_error("low on memory\r\nbye"))
            .stderr_lines(sink)
            .stderr(StderrPolicy::Ring {
                bytes_max: 1024,
                lines_max: 10,
            });
        let child = child.build().unwrap().spawn().await.unwrap();
        let line = lines.recv_timeout(LIMIT).unwrap();
        assert_eq!(line.0, child.pid());
        assert_eq!(line.1.trim_end(), "low on memory");
        assert_eq!(lines.recv_timeout(LIMIT).unwrap().1, "bye");
    });
}

#[test]
fn a_program_that_is_not_there_and_one_that_is_none_are_told() {
    let error = CommandSpec::new("no-such-program").build().unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
    run(async {
        let dir = tempdir("none");
        let file = dir.join("text.exe");
        std::fs::write(&file, "no program").unwrap();
        match CommandSpec::new(&file).build() {
            // Windows cannot tell before it tries.
            Ok(command) => {
                let error = command.spawn().await.unwrap_err();
                assert!(!error.is_transient());
                assert!(
                    matches!(error, SpawnError::NotExecutable { .. }),
                    "{error:?}"
                );
            }
            Err(error) => assert!(error.to_string().contains("cannot be executed"), "{error}"),
        }
    });
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let name = format!("pool-every-system-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("the system allows it");
    dir
}

#[test]
fn requests_of_an_exclusive_connection_are_answered_also_large_ones() {
    run(async {
        let connector = StdioConnector::new(spec(&Behaviour::echo())).unwrap();
        let pool = ConnectionPool::builder(connector)
            .max_size(2)
            .build()
            .unwrap();
        for length in [1, 100, 5_000, 70_000, 900_000] {
            let mut connection = pool.acquire().await.unwrap();
            let message = Bytes::from(vec![b'm'; length]);
            let reply = connection.request(message.clone()).await.unwrap();
            assert_eq!(reply.bytes.len(), message.len());
        }
        assert_eq!(pool.status().idle, 1, "one child answered them all");
        pool.close(LIMIT).await;
    });
}

#[test]
fn a_one_shot_child_gets_all_of_its_input_and_then_the_end() {
    run(async {
        let connector = OneShotConnector::new(spec(&Behaviour::echo())).unwrap();
        let pool = connector.pool().build().unwrap();
        for length in [0, 10, 300_000] {
            let input = "x".repeat(length) + "\n";
            let mut one_shot = pool.acquire().await.unwrap();
            let output = one_shot.run(input.clone()).await.unwrap();
            assert_eq!(output.stdout, input);
        }
        pool.close(LIMIT).await;
    });
}

#[test]
fn json_rpc_calls_share_a_child_and_learn_of_its_death() {
    run(async {
        let connector = JsonRpcConnector::new(
            spec(&Behaviour::new().then(Step::ServeRpc)),
            Protocol::Plain,
        )
        .unwrap();
        let pool = SharedPool::builder(connector).max_size(1).build().unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..64_u32 {
            let pool = pool.clone();
            calls.spawn(async move {
                let lease = pool.acquire().await.unwrap();
                for round in 0..10 {
                    let said: (u32, u32) = lease.call("echo", &(number, round)).await.unwrap();
                    assert_eq!(said, (number, round));
                }
            });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        let lease = pool.acquire().await.unwrap();
        let text = "é".repeat(200_000);
        let said: String = lease.call("echo", &text).await.unwrap();
        assert_eq!(said, text);
        let error = lease.call::<()>("exit", &[3]).await.unwrap_err();
        assert!(error.to_string().contains('3'), "{error}");
        drop(lease);
        pool.close(LIMIT).await;
    });
}

#[test]
fn a_signal_that_the_system_does_not_have_is_a_typed_error() {
    run(async {
        let child = start(&Behaviour::new().hang()).await;
        let sent = child.signal(Signal::User1);
        if cfg!(windows) {
            let error = sent.unwrap_err();
            assert!(
                matches!(error, pool_stdio::SignalError::Unsupported),
                "{error}"
            );
            child.signal(Signal::Kill).unwrap();
            assert_eq!(child.exited().await.status().unwrap().code(), Some(1));
        } else {
            sent.unwrap();
            assert_eq!(child.exited().await.status().unwrap().code(), None);
        }
    });
}

/// Without a console nobody can be asked to leave: the rung is skipped, and its grace too.
#[cfg(windows)]
#[test]
fn a_rung_that_this_system_cannot_take_is_skipped_and_said() {
    run(async {
        let mut times = LadderTimes::default();
        times.eof_grace = Duration::from_millis(20);
        times.term_grace = LIMIT * 2;
        let command = spec(&Behaviour::new().hang()).ladder_times(times);
        let child = command.build().unwrap().spawn().await.unwrap();
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.is_term_skipped), (Rung::Kill, true));
        assert_eq!(end.exit.status().unwrap().code(), Some(1));
    });
}

#[cfg(windows)]
mod batch_files {
    use super::*;

    async fn output_of(spec: CommandSpec) -> String {
        let pool = OneShotConnector::new(spec)
            .expect("the shim runs")
            .pool()
            .build()
            .expect("the shim runs");
        let output = pool
            .acquire()
            .await
            .expect("the shim runs")
            .run("")
            .await
            .expect("the shim runs");
        pool.close(LIMIT).await;
        String::from_utf8(output.stdout.to_vec()).expect("the shim runs")
    }

    #[test]
    fn a_shim_is_started_by_its_bare_name_and_gets_its_arguments() {
        run(async {
            let dir = tempdir("shims");
            std::fs::write(dir.join("shim"), "#!/bin/sh\n").unwrap();
            std::fs::write(dir.join("shim.cmd"), "@echo off\r\necho %1 %2\r\n").unwrap();
            let path = std::env::join_paths([&dir]).unwrap();
            for (first, second, said) in [
                ("plain", "two words", r#"plain "two words""#),
                ("a&b", "x|y>z", r#""a&b" "x|y>z""#),
                (r#"q"q"#, r"c:\dir\", r#""q""q" "c:\dir\\""#),
            ] {
                let spec = CommandSpec::new("shim").env("Path", &path);
                let output = output_of(spec.args([first, second])).await;
                assert_eq!(output.trim_end(), said);
            }
        });
    }

    #[test]
    fn an_argument_that_no_quoting_saves_is_refused_before_the_start() {
        let dir = tempdir("refused");
        let file = dir.join("tool.bat");
        std::fs::write(&file, "@echo off\r\n").unwrap();
        let error = CommandSpec::new(&file).arg("a\nb").build().unwrap_err();
        assert!(error.to_string().contains("batch file"), "{error}");
        assert!(CommandSpec::new(&file).arg("a b").build().is_ok());
    }
}
