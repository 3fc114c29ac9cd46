//! Batch files, which only Windows has.

use pool_stdio::{CommandSpec, OneShotConnector};

use crate::rig::{LIMIT, run, tempdir};

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
