//! What starting ahead saves where reuse is impossible.

use std::time::Duration;

use super::look::context;
use super::task::Task;
use crate::measure::Measured;
use crate::measure::Stopwatch;
use crate::measure::median;
use pool_core::Connector;
use pool_stdio::OneShotConnector;

/// Measures it and says it.
pub(super) async fn advice(task: &Task) -> String {
    match measure(task).await {
        Ok((fresh, ahead)) => text(fresh, ahead),
        Err(error) => {
            format!("it cannot be reused, and a process for each request fails too: {error}")
        }
    }
}

fn text(fresh_ms: f64, ahead_ms: f64) -> String {
    let saved = fresh_ms - ahead_ms;
    if saved <= 0.0 {
        return format!(
            "it cannot be reused, and starting processes ahead would save nothing: {fresh_ms:.1} ms started \
             on demand, {ahead_ms:.1} ms started ahead"
        );
    }
    format!(
        "it cannot be reused, but starting processes ahead would save {saved:.1} of {fresh_ms:.1} ms per \
         request ({:.0} %; medians of {PAIRS} requests each, in turns, one at a time)\nsee \
         OneShotConnector in pool-stdio",
        100.0 * saved / fresh_ms
    )
}

/// Milliseconds from wanting a child to its whole output: started on demand, and started ahead.
async fn measure(task: &Task) -> Measured<(f64, f64)> {
    let on_demand = OneShotConnector::new(task.spec())?;
    let connector = OneShotConnector::new(task.spec())?;
    task.started_children.add(on_demand.children());
    task.started_children.add(connector.children());
    let pool = connector.pool().max_size(2).min_idle(1).build()?;
    pool.warm_up(1).await?;
    let (mut fresh, mut ahead) = (Vec::new(), Vec::new());
    let watch = Stopwatch::start();
    for _ in 0..PAIRS {
        if watch.elapsed() >= TIME_MAX && !ahead.is_empty() {
            break;
        }
        let begun = Stopwatch::start();
        let mut child = on_demand.connect(&context(task.patience)).await?;
        child.run(&task.framed).within(task.patience).await?;
        fresh.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(child);
        // The pool started the next child while the other request was served.
        let begun = Stopwatch::start();
        let mut child = pool.acquire().await?;
        child.run(&task.framed).within(task.patience).await?;
        ahead.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    pool.close(Duration::ZERO).await;
    let medians = median(&fresh).zip(median(&ahead));
    medians.ok_or_else(|| "nothing was measured".into())
}

const PAIRS: usize = 20;
const TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_is_saved_is_said_as_time_and_as_share() {
        assert!(text(20.0, 5.0).contains("would save 15.0 of 20.0 ms per request (75 %;"));
        assert!(text(5.0, 5.1).contains("would save nothing"));
    }
}
