//! Batch files, which only Windows has.

use pool_core::{ConnectContext, ConnectionId, ConnectionPool, Connector as _};
use pool_stdio::{CommandSpec, OneShotConnector, Rung, StdioConnector, Stop, Survivors};
use pool_testkit::fixture::Behaviour;
use tokio::time::Instant;

use crate::beacons::{Beacons, wait_for_deaths};
use crate::rig::{FIXTURE, LIMIT, patient, run, tempdir};

/// Without a pool, which would take a child that has ended before it is lent for a failed start.
async fn output_of(spec: CommandSpec) -> String {
    let connector = OneShotConnector::new(spec).expect("the shim runs");
    let context = ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now() + LIMIT);
    let mut child = connector.connect(&context).await.expect("the shim runs");
    let output = child.run("").await.expect("the shim runs");
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

/// As npm writes it: the file starts the program beside it, with all arguments.
fn shim(name: &str, behaviour: &Behaviour) -> CommandSpec {
    let dir = tempdir(name);
    std::fs::copy(FIXTURE, dir.join("node.exe")).expect("there is room for a copy");
    let text = "@echo off\r\nsetlocal\r\n\"%~dp0node.exe\" %*\r\n";
    std::fs::write(dir.join("server.cmd"), text).expect("there is room for it");
    let spec = behaviour.command("server").ladder_times(patient());
    spec.env("Path", dir)
}

#[test]
fn a_server_behind_a_shim_gets_its_argument_answers_and_ends_with_its_input() {
    run(async {
        let beacons = Beacons::new();
        let tag = "a\\ \"b\" & <c> | (d) ^ e!";
        let server = Behaviour::new().announce(beacons.address(), tag);
        let spec = shim("answers", &server.then_echo());
        let connector = StdioConnector::new(spec.clone()).unwrap();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.request("hello").await.unwrap().bytes, "hello");
        let mut lit = beacons.lit(1);
        drop(lease);
        pool.close(LIMIT).await;

        let child = spec.build().unwrap().spawn().await.unwrap();
        lit.extend(beacons.lit(1));
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.survivors), (Rung::Eof, Survivors::Known(0)));
        wait_for_deaths(lit, "the server").await;
    });
}

#[test]
fn a_server_behind_a_shim_is_ended_with_its_shell() {
    run(async {
        let beacons = Beacons::new();
        let hung = Behaviour::new().announce(beacons.address(), "hung").hang();
        let command = shim("hangs", &hung).build().unwrap();
        let child = command.spawn().await.unwrap();
        let lit = beacons.lit(1);
        let end = child.terminate(Stop::Force).await;
        assert_eq!((end.rung, end.survivors), (Rung::Kill, Survivors::Known(0)));
        wait_for_deaths(lit, "the server").await;
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
