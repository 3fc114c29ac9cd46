//! How life and death are seen.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pool_core::{BoxFuture, CloseReason, Connector};

use super::super::Subject;
use super::super::trial::{Stop, Verdict, broken, chain, demand};

pub(super) async fn is_alive_sees_death<C: Connector>(subject: &Subject<C>) -> Verdict {
    let conn = subject.open().await?;
    let connector = &subject.connector;
    demand(connector.is_alive(&conn), || {
        "a live connection is not alive".into()
    })?;
    subject.kill_it(&conn).await?;
    let is_dead = || !connector.is_alive(&conn);
    subject
        .soon("`is_alive` is still true of a dead connection", is_dead)
        .await?;
    subject.close(conn, CloseReason::Died).await
}

pub(super) async fn questions_are_cheap<C: Connector>(subject: &Subject<C>) -> Verdict {
    let mut conn = subject.open().await?;
    subject.exchange_if_told(&mut conn).await?;
    let connector = Arc::clone(&subject.connector);
    // On a plain thread, as in the `Drop` of a lease that outlived its runtime.
    let asked = std::thread::spawn(move || (ask(&*connector, &conn), conn));
    let Ok((answered, mut conn)) = asked.join() else {
        return broken("a question panicked on a thread without a runtime");
    };
    demand(answered == Ok(()), || answered.err().unwrap_or_default())?;
    subject.exchange_if_told(&mut conn).await?;
    subject.close(conn, CloseReason::Idle).await
}

type Question<C> = fn(&C, &<C as Connector>::Connection) -> bool;

/// Asks all questions many times. The best of several rounds counts: a busy machine slows some of
/// them down, a slow connector all.
fn ask<C: Connector>(connector: &C, conn: &C::Connection) -> Result<(), String> {
    let questions: [(&str, Question<C>); 3] = [
        ("is_alive", C::is_alive),
        ("is_clean", C::is_clean),
        ("needs_reset", C::needs_reset),
    ];
    for (name, question) in questions {
        let first = question(connector, conn);
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let begun = now();
            for _ in 0..QUESTIONS {
                if question(connector, conn) != first {
                    return Err(format!("`{name}` changed its answer by being asked"));
                }
            }
            best = best.min(begun.elapsed());
        }
        if best > QUESTION_LIMIT * QUESTIONS {
            return Err(format!("{QUESTIONS} times `{name}` took {best:?}"));
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "what blocks takes real time, paused clock or not"
)]
fn now() -> Instant {
    Instant::now()
}

pub(super) async fn died_resolves<C: Connector>(subject: &Subject<C>) -> Verdict {
    let conn = subject.open().await?;
    let (first, second) = (death(subject, &conn)?, death(subject, &conn)?);
    subject.kill_it(&conn).await?;
    // The second first: it must not depend on the first being polled.
    subject
        .bounded("the second future of `died`", second)
        .await?;
    subject.bounded("the first future of `died`", first).await?;
    let late = death(subject, &conn)?;
    subject
        .bounded("a future of `died` made after the death", late)
        .await?;
    subject.close(conn, CloseReason::Died).await
}

pub(super) async fn died_waits<C: Connector>(subject: &Subject<C>) -> Verdict {
    let mut conn = subject.open().await?;
    let mut deaths = [death(subject, &conn)?, death(subject, &conn)?];
    for _ in 0..LOOKS {
        subject.exchange_if_told(&mut conn).await?;
        tokio::task::yield_now().await;
        let resolved = poll_fn(|cx| {
            let mut deaths = deaths.iter_mut();
            Poll::Ready(deaths.any(|death| death.as_mut().poll(cx).is_ready()))
        });
        demand(!resolved.await, || {
            "`died` resolved while the connection lives".into()
        })?;
    }
    subject.close(conn, CloseReason::Idle).await
}

fn death<C: Connector>(
    subject: &Subject<C>,
    conn: &C::Connection,
) -> Verdict<BoxFuture<'static, ()>> {
    let none = || {
        "`died` returns None: idle deaths are seen by the next caller only, so write it, \
                   or waive the rule"
    };
    let death = subject.connector.died(conn);
    death.ok_or_else(|| Stop::NotApplicable(none().to_owned()))
}

pub(super) async fn check_passes_live<C: Connector>(subject: &Subject<C>) -> Verdict {
    let mut conn = subject.open().await?;
    for _ in 0..LOOKS {
        let checking = subject.connector.check(&mut conn);
        if let Err(error) = subject.bounded("check", checking).await? {
            return broken(format!("check of a live one failed: {}", chain(&error)));
        }
        subject.exchange_if_told(&mut conn).await?;
    }
    subject.close(conn, CloseReason::Idle).await
}

pub(super) async fn check_tells_death<C: Connector>(subject: &Subject<C>) -> Verdict {
    let mut conn = subject.open().await?;
    subject.kill_it(&conn).await?;
    // A check may meet the death on its way: it may pass as long as nobody could know.
    let checking = subject.connector.check(&mut conn);
    let passed = subject
        .bounded("check of a dead connection", checking)
        .await?
        .is_ok();
    if passed {
        let is_dead = || !subject.connector.is_alive(&conn);
        let otherwise = "`check` passed a dead connection that `is_alive` calls alive";
        subject.soon(otherwise, is_dead).await?;
    }
    subject.close(conn, CloseReason::Died).await
}

const QUESTIONS: u32 = 200;
const ROUNDS: u32 = 3;
/// What one question may take on average: a thousand times what a good one does.
const QUESTION_LIMIT: Duration = Duration::from_micros(500);
/// How often something is looked at that must stay as it is.
const LOOKS: u32 = 8;
