//! The task that weighs the connections of a pool, and kills those that are far too heavy.
//!
//! Kills run on threads for blocking work, each by itself: one that hangs keeps no other from its end. Weights
//! are read by one task at a time, beside those that hang.

use tokio::task::spawn_blocking;

use crate::engine::{Engine, Lends};
use crate::foreign::{catch, drop_quietly, report};
use crate::store::{Weighable, Weighing};
use crate::sync::Arc;
use crate::weight_reader::read_weights;

/// Weighs connections, and acts on what they weigh.
pub(crate) async fn weigh<T: Send + 'static, L: Lends<T>>(
    engine: Arc<Engine<T, L>>,
    weighable: Vec<Weighable>,
) {
    let readings = read_weights(&engine.readers, weighable).await;
    let Weighing {
        kills,
        change,
        heaviest,
    } = {
        let now = engine.clock.now();
        let mut store = engine.lock();
        let weighing = store.weighed(&readings, now);
        engine.finish(store);
        weighing
    };
    // Order: nothing is awaited in between. A kill can end this pool, and with it this task.
    engine.report_weight(change, heaviest);
    let killings = kills.into_iter().map(|(vitals, cause)| {
        spawn_blocking(move || {
            report(catch("kill", || vitals.get().kill(&cause)));
            drop_quietly(vitals);
        })
    });
    for killing in killings.collect::<Vec<_>>() {
        drop(killing.await);
    }
}
