//! What a pool writes to the log, and on which level.
//!
//! These tests are in a process of their own. Whether anybody wants an event is remembered for the whole
//! process, so a pool on a thread without a subscriber could suppress the events here.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use pool_core::{ConnectionPool, PooledConnection};
#[cfg(target_os = "linux")]
use pool_stdio::{CommandSpec, StdioConnector};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_tests::bed::{SECOND, Watchdog, pass, quiesce};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Keeps the level and the fields of each event.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    fn of(&self, level: Level) -> Vec<String> {
        let lines = self.0.lock().expect("no holder of the lock panics");
        let lines = lines.iter().filter(|(other, _)| *other == level);
        lines.map(|(_, line)| line.clone()).collect()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{}={value:?} ", field.name())
                    .expect("a write to a string cannot fail");
            }
        }
        if !["pool_core", "pool_stdio"].contains(&event.metadata().target()) {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = (*event.metadata().level(), text.0);
        self.0
            .lock()
            .expect("no holder of the lock panics")
            .push(line);
    }
}

/// What an operator should know is a warning with the pool's name.
#[tokio::test(start_paused = true)]
async fn failures_and_overdue_calls_are_warnings_with_the_pool_name() {
    let _watchdog = Watchdog::start();
    let lines = Lines::default();
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let (connector, fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .name("workers")
        .max_size(1)
        .close_timeout(SECOND)
        .check_interval(5 * SECOND)
        .lease_warn_after(SECOND)
        .build()
        .expect("the settings are valid");
    fake.queue(Call::Connect, [Answer::Transient]);
    fake.queue(Call::Check, [Answer::Transient]);
    fake.queue(Call::Close, [Answer::After(SECOND + SECOND / 2)]);
    let lease = pool.acquire().await.expect("the second attempt connects");
    pass(2 * SECOND).await;
    drop(lease);
    pass(10 * SECOND).await;
    // It is checked before this caller gets it.
    drop(pool.acquire().await.expect("another connection serves it"));
    let warnings = lines.of(Level::WARN);
    let about = |what: &str| {
        let found: Vec<_> = warnings.iter().filter(|line| line.contains(what)).collect();
        assert_eq!(found.len(), 1, "{what}: {warnings:#?}");
        assert!(found[0].contains("pool=\"workers\""), "{}", found[0]);
        assert!(found[0].contains("id=#"), "{}", found[0]);
    };
    about("connect failed");
    about("a check or reset failed");
    about("a close takes too long");
    about("a lease has lasted for long");
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
    assert_eq!(lines.of(Level::INFO).len(), 1, "an overdue lease ended");
    assert!(lines.of(Level::ERROR).is_empty());
    pool.close(SECOND).await;
}

/// The warning has the exit status and the end of stderr.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn unexpected_end_of_a_child_is_a_warning_with_its_cause() {
    let _watchdog = Watchdog::start();
    let lines = Lines::default();
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let server = CommandSpec::new("sh").args(["-c", "read line; echo no memory >&2; exit 3"]);
    let connector = StdioConnector::new(server.name("worker")).expect("there is a shell");
    let pool = ConnectionPool::builder(connector).build();
    let pool = pool.expect("the settings are valid");
    let mut child = pool.acquire().await.expect("it starts");
    child.request("hello").await.expect_err("it dies");
    drop(child);
    assert!(pool.close(10 * SECOND).await.is_complete());
    let warnings = lines.of(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in [
        "connector=\"worker\"",
        "pid=",
        "exit status: 3",
        "no memory",
    ] {
        assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn panics_of_foreign_code_are_errors() {
    let _watchdog = Watchdog::start();
    let lines = Lines::default();
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let (connector, fake) = pair();
    let pool = ConnectionPool::builder(connector).max_size(1).build();
    let pool = pool.expect("the settings are valid");
    fake.set(Call::Close, Answer::Panic);
    PooledConnection::discard(pool.acquire().await.expect("it connects"));
    quiesce().await;
    let errors = lines.of(Level::ERROR);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("close panicked"), "{}", errors[0]);
    pool.close(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_logged_on_the_trace_level_only() {
    let _watchdog = Watchdog::start();
    let lines = Lines::default();
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector).max_size(1).build();
    let pool = pool.expect("the settings are valid");
    drop(pool.acquire().await.expect("it connects"));
    let debug = lines.of(Level::DEBUG).len();
    for _ in 0..10 {
        drop(pool.acquire().await.expect("it is idle"));
    }
    assert_eq!(lines.of(Level::DEBUG).len(), debug);
    assert!(lines.of(Level::TRACE).len() >= 20);
    assert!(lines.of(Level::INFO).is_empty() && lines.of(Level::WARN).is_empty());
    pool.close(SECOND).await;
}

/// A subscriber that cannot write.
struct FullDisk;

impl Subscriber for FullDisk {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pool_core" && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("the disk is full");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn subscriber_that_panics_does_not_close_the_pool() {
    let _watchdog = Watchdog::start();
    let _guard = tracing::subscriber::set_default(FullDisk);
    let builder = ConnectionPool::builder(pair().0).lease_warn_after(SECOND);
    let pool = builder.build().expect("the settings are valid");
    let lease = pool.acquire().await.expect("it connects");
    // The maintenance task warns of the lease.
    pass(10 * SECOND).await;
    assert!(!pool.status().is_closed);
    drop(lease);
}
