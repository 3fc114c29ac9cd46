//! Starts and ends ten thousand children, drops a thousand futures halfway, and kills children at random for
//! twenty seconds under 64 callers. Then counts what is left. Last, kills a thousand hosts and looks for their
//! children.
//!
//! `cargo run --release -p pool-tests --bin soak -- --cycles 10000`. The hosts are the program `pool-host`, which
//! must have been built beside this one.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "the report is what this program is for"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    use std::process::ExitCode;
    use std::time::Duration;

    use pool_stdio::StdioConnector;
    use pool_testkit::census::Census;
    use pool_testkit::fixture::Behaviour;
    use pool_tests::chaos::{self, Plan};
    use pool_tests::children::{Stage, act_if_asked};
    use pool_tests::soak::{Counts, cancelled, cycles, hosts};
    use tokio::runtime;
    use tokio::time::Instant;

    #[derive(Debug)]
    struct Arguments {
        cycles: usize,
        cancelled: usize,
        chaos_seconds: u64,
        hosts: usize,
    }

    impl Arguments {
        fn parse() -> Option<Self> {
            let mut parsed = Self {
                cycles: 10_000,
                cancelled: 1_000,
                chaos_seconds: 20,
                hosts: 1_000,
            };
            let mut words = std::env::args().skip(1);
            while let Some(word) = words.next() {
                let value = words.next()?;
                match word.as_str() {
                    "--cycles" => parsed.cycles = value.parse().ok()?,
                    "--cancelled" => parsed.cancelled = value.parse().ok()?,
                    "--chaos-seconds" => parsed.chaos_seconds = value.parse().ok()?,
                    "--hosts" => parsed.hosts = value.parse().ok()?,
                    _ => return None,
                }
            }
            Some(parsed)
        }
    }

    pub(super) fn main() -> ExitCode {
        if let Some(code) = act_if_asked() {
            return code;
        }
        let Some(arguments) = Arguments::parse() else {
            eprintln!("usage: soak [--cycles N] [--cancelled N] [--chaos-seconds N] [--hosts N]");
            return ExitCode::FAILURE;
        };
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let is_same = runtime.block_on(soak(&arguments));
        if kills_hosts(arguments.hosts) && is_same {
            println!("nothing was left behind");
            ExitCode::SUCCESS
        } else {
            println!("SOMETHING WAS LEFT BEHIND");
            ExitCode::FAILURE
        }
    }

    /// Whether nothing is left of hosts that were killed.
    fn kills_hosts(count: usize) -> bool {
        let begun = Instant::now();
        let own = std::env::current_exe().expect("it runs");
        let program = own.with_file_name("pool-host").display().to_string();
        let left = hosts::kill(&program, count);
        println!(
            "{count} killed hosts; {:.1?}; left: {left:?}",
            begun.elapsed()
        );
        left.is_empty()
    }

    /// Whether the counts are the same at the end.
    async fn soak(arguments: &Arguments) -> bool {
        let census = Census::begin();
        let stage = Stage::this_program(&census);
        // Threads and descriptors that the process layer makes at its first use are no leak.
        cycles::run(&stage, 10).await;
        let before = Counts::now(&census);
        println!("before: {before}");

        let begun = Instant::now();
        let done = cycles::run(&stage, arguments.cycles).await;
        println!("{} cycles: {done}; {:.1?}", done.total(), begun.elapsed());
        let is_same = prints_the_same(before, &census).await;

        let begun = Instant::now();
        let rows = cancelled::run(&stage, arguments.cancelled).await;
        println!(
            "{} cancellations; {:.1?}",
            arguments.cancelled,
            begun.elapsed()
        );
        for row in rows {
            println!("  {row}");
        }
        let is_same = prints_the_same(before, &census).await && is_same;

        if arguments.chaos_seconds == 0 {
            return is_same;
        }
        let plan = plan(arguments.chaos_seconds);
        println!("chaos: {plan:?}");
        let connector = || {
            let connector = StdioConnector::new(stage.spec(&Behaviour::echo()));
            connector.expect("the program is there")
        };
        // Once in three times is enough: other work of the machine can slow down one of the two pools.
        for number in 1..=3 {
            let outcome = chaos::play(connector(), connector(), plan).await;
            println!("{outcome}");
            outcome.assert_right();
            if outcome.has_recovered() {
                break;
            }
            assert!(number < 3, "the throughput does not come back");
        }
        prints_the_same(before, &census).await && is_same
    }

    fn plan(seconds: u64) -> Plan {
        Plan {
            callers: 64,
            children: 4,
            calm: Duration::from_secs(2),
            killing: Duration::from_secs(seconds),
            gap: Duration::from_millis(20),
            given_up_one_in: None,
            seed: RandomState::new().hash_one("soak"),
        }
    }

    async fn prints_the_same(before: Counts, census: &Census) -> bool {
        let after = before.wait_for_the_same(census).await;
        println!("after:  {after}");
        after == before
    }
}
