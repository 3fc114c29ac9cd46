//! The task that weighs the connections of a pool, and kills those that are far too heavy.
//!
//! Weights are read by foreign code that may block. It runs on a thread for blocking work; only one
//! such task of a pool is under way at a time.

use tokio::task::spawn_blocking;

use crate::engine::{Engine, Lends};
use crate::foreign::{catch, drop_quietly, log, report};
use crate::store::{Weighable, Weighing, WeightReading};
use crate::sync::Arc;

/// Weighs connections, and acts on what they weigh.
pub(crate) async fn weigh<T: Send + 'static, L: Lends<T>>(
    engine: Arc<Engine<T, L>>,
    weighable: Vec<Weighable>,
) {
    // An error means that the runtime shuts down.
    let readings = spawn_blocking(move || read(weighable)).await;
    let Weighing { kills, change } = {
        let now = engine.clock.now();
        let mut store = engine.lock();
        let weighing = store.weighed(&readings.unwrap_or_default(), now);
        engine.finish(store);
        weighing
    };
    // Order: nothing is awaited in between. A kill can end this pool, and with it this task.
    engine.report_weight(change);
    if !kills.is_empty() {
        let killing = spawn_blocking(move || {
            for (vitals, cause) in kills {
                report(catch("kill", || vitals.0.kill(&cause)));
                drop_quietly(vitals);
            }
        });
        drop(killing.await);
    }
}

fn read(weighable: Vec<Weighable>) -> Vec<WeightReading> {
    let mut readings = Vec::new();
    for Weighable { key, id, vitals } in weighable {
        match catch("weight", || vitals.0.weight()) {
            Ok(Some(weight)) => readings.push(WeightReading { key, id, weight }),
            Ok(None) => {}
            Err(fault) => log(&fault),
        }
        drop_quietly(vitals);
    }
    readings
}
