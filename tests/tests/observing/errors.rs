//! Errors: what an operator reads, and what code can find in them.

use std::error::Error;
use std::io;
use std::time::Duration;

use pool_core::{
    AcquireError, BoxError, BoxFuture, BuildError, CheckError, CloseReason, ConnectContext,
    ConnectError, ConnectionPool, Connector, Fault, ResizeError, async_trait,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, SECOND, Watchdog};

#[derive(Debug)]
struct Missing;

#[async_trait]
impl Connector for Missing {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Err(ConnectError::permanent(io::Error::new(
            io::ErrorKind::NotFound,
            "no such program",
        )))
    }
}

/// It keeps its type. The text of the first error has the last cause, for programs that log that text alone.
#[tokio::test(start_paused = true)]
async fn chain_of_sources_leads_to_the_connectors_own_error() {
    let _watchdog = Watchdog::start();
    let pool = ConnectionPool::builder(Missing).name("workers").build();
    let pool = pool.expect("the settings are valid");
    let error = pool.acquire().await.expect_err("there is no program");
    let mut chain = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push(cause.to_string());
        source = cause.source();
    }
    assert_eq!(chain.len(), 3);
    let start = "pool `workers` cannot open connections, retry after ";
    assert!(chain[0].starts_with(start), "{}", chain[0]);
    assert!(
        chain[0].ends_with("; the last attempt failed: no such program"),
        "{}",
        chain[0]
    );
    // Nobody waited, and a text of the whole chain says only once that a connect failed.
    assert!(!chain[0].contains("waiting out"), "{}", chain[0]);
    assert_eq!(chain.join(": ").matches("connect failed").count(), 1);
    assert_eq!(chain[1], "connect failed, later attempts will fail as well");
    assert_eq!(chain[2], "no such program");
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<ConnectError>());
    let origin = cause
        .and_then(Error::source)
        .and_then(|origin| origin.downcast_ref::<io::Error>());
    assert_eq!(origin.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    let copy = error.clone();
    assert_eq!(copy.to_string(), error.to_string(), "waiters share it");
    pool.close(SECOND).await;
}

#[test]
fn errors_can_be_sent_and_boxed() {
    const fn check<E: Error + Send + Sync + 'static>() {}
    check::<AcquireError>();
    check::<BuildError>();
    check::<CheckError>();
    check::<ConnectError>();
    check::<Fault>();
    check::<ResizeError>();
    check::<pool_core::TryAcquireError>();
    check::<pool_core::WarmUpError>();
}

/// Whether they are made from strings or from boxed errors.
#[test]
fn connect_and_check_errors_keep_what_they_are_given() {
    let transient = ConnectError::transient("the port is closed");
    assert!(!transient.is_permanent());
    assert_eq!(
        transient.to_string(),
        "connect failed, a later attempt may succeed"
    );
    assert_eq!(
        transient.source().map(ToString::to_string).as_deref(),
        Some("the port is closed")
    );
    assert_eq!(
        format!("{transient:?}"),
        "ConnectError { kind: Transient, source: \"the port is closed\" }"
    );
    let boxed: Box<dyn Error + Send + Sync> = Box::new(io::Error::from(io::ErrorKind::BrokenPipe));
    let check = CheckError::new(boxed);
    assert_eq!(check.to_string(), "the connection is unfit");
    assert!(check.source().is_some_and(<dyn Error>::is::<io::Error>));
    let copy = check.clone();
    assert!(copy.source().is_some_and(<dyn Error>::is::<io::Error>));
}

#[test]
fn fault_names_the_call_and_the_limit() {
    let limit = 5 * SECOND;
    let fault = Fault::TimedOut {
        call: "connect",
        limit,
    };
    assert_eq!(fault.to_string(), "connect did not end within 5s");
}

#[tokio::test(start_paused = true)]
async fn every_error_of_acquire_shows_the_state_of_the_pool() {
    let bed = Bed::with(1, |builder| {
        builder.max_waiters(0).fail_fast_after(1).name("workers")
    });
    bed.pool.warm_up(1).await.expect("it connects");
    let lease = bed.lease().await;
    let overloaded = bed.pool.acquire().await.expect_err("nobody may wait");
    let timeout = bed
        .pool
        .acquire_within(Duration::ZERO)
        .await
        .expect_err("it is lent");
    bed.pool.close(Duration::ZERO).await;
    let closed = bed.pool.acquire().await.expect_err("it is closed");
    for error in [&overloaded, &timeout, &closed] {
        assert_eq!(
            (&*error.context().pool, error.context().status.leased),
            ("workers", 1)
        );
        assert!(error.to_string().contains("1 of 1 leased"), "{error}");
        assert!(error.source().is_none());
    }
    drop(lease);
    bed.finish().await;
}

/// As much as a failed connect is.
#[tokio::test(start_paused = true)]
async fn early_death_is_the_cause_in_the_callers_error() {
    let bed = Bed::with(1, |builder| {
        builder
            .retry_delay(1_000_000 * SECOND, 1_000_000 * SECOND)
            .fail_fast_after(1)
    });
    let lease = bed.lease().await;
    lease.mark_dirty();
    lease.die();
    drop(lease);
    bed.fake.until(|counts| counts.alive == 0).await;
    bed.fake.set(Call::Connect, Answer::Transient);
    let error = bed
        .pool
        .acquire()
        .await
        .expect_err("the peer does not live");
    let fault = error
        .source()
        .and_then(Error::source)
        .and_then(|fault| fault.downcast_ref());
    let Some(Fault::EndedEarly {
        id,
        age,
        reason: CloseReason::Died,
        ..
    }) = fault
    else {
        panic!("{error:?}");
    };
    assert_eq!((id.as_u64(), *age), (0, Duration::ZERO));
    assert_eq!(
        fault.map(ToString::to_string).as_deref(),
        Some("connection #0 ended 0.0ns after it was opened: died")
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn error_of_a_closed_pool_does_not_say_that_it_waits() {
    let bed = Bed::new(1);
    bed.pool.close(SECOND).await;
    let error = bed.pool.acquire().await.expect_err("it is closed");
    let text = error.to_string();
    assert!(!text.contains("waiting for a connection"), "{text}");
    bed.finish().await;
}

/// Dies at once, and says why.
struct Unlucky;

#[async_trait]
impl Connector for Unlucky {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn died(&self, (): &()) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let reason = io::Error::other("out of paper");
        Some(Box::pin(async { Some(reason.into()) }))
    }
}

#[tokio::test(start_paused = true)]
async fn reason_of_an_early_death_is_the_cause_of_refusals() {
    let pool = ConnectionPool::builder(Unlucky)
        .min_idle(1)
        .fail_fast_after(1)
        .build()
        .unwrap();
    let error = loop {
        match pool.acquire().await {
            // Its death was not told yet.
            Ok(lease) => drop(lease),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    let connect = error.source().expect("a connection has failed");
    let reason = connect
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(
        reason.expect("the connector's own error").to_string(),
        "out of paper"
    );
    pool.close(Duration::from_secs(1)).await;
}
