//! The job of a child, which only Windows has.

use std::os::windows::process::CommandExt;
use std::process::Command;

use pool_stdio::{CommandSpec, OneShotConnector};

use crate::rig::{LIMIT, run};

/// This test is a child of itself: only code of its own can ask for a breakaway.
#[test]
#[expect(clippy::print_stdout, reason = "the child tells the test")]
fn nothing_that_a_child_starts_can_leave_its_job() {
    if std::env::var_os(IS_CHILD).is_some() {
        // A child that ends before it is lent was never of use.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("its input ends");
        println!("{}", start_outside_of_the_job());
        return;
    }
    run(async {
        let own = std::env::current_exe().unwrap();
        let name = "jobs::nothing_that_a_child_starts_can_leave_its_job";
        let spec = CommandSpec::new(own).args(["--exact", name, "--nocapture"]);
        let connector = OneShotConnector::new(spec.env(IS_CHILD, "1")).unwrap();
        let pool = connector.pool().build().unwrap();
        let output = pool.acquire().await.unwrap().run("").await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(REFUSED), "{said}");
        pool.close(LIMIT).await;
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pool does not start it, and nothing is started"
)]
fn start_outside_of_the_job() -> String {
    let mut command = Command::new("cmd.exe");
    let started = command
        .args(["/c", "exit"])
        .creation_flags(CREATE_BREAKAWAY_FROM_JOB)
        .spawn();
    match started {
        Ok(mut child) => format!("it is started: {:?}", child.wait()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => REFUSED.to_owned(),
        Err(error) => error.to_string(),
    }
}

const IS_CHILD: &str = "POOL_EVERY_SYSTEM_IS_CHILD";
const REFUSED: &str = "the system refused it";
const CREATE_BREAKAWAY_FROM_JOB: u32 = 0x0100_0000;
