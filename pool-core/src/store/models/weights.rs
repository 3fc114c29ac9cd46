//! Weights that are reported while their connections come home or go.

use loom::thread;

use crate::budget::Budget;
use crate::lease::PooledConnection;
use crate::store::models::rig::{Errands, Pool, open_one, run_errands, start_in, take, tear_down};
use crate::store::{SlotKey, State, Weight, WeightReading};

const WEIGHT: u64 = 200;

/// A budget of this weight, and a pool that has leased its one connection.
fn holder(max_weight: u64) -> (Budget, Pool, Errands, PooledConnection<()>) {
    let budget = Budget::builder("model").max_connections(1);
    let budget = budget.max_weight(max_weight).build();
    let budget = budget.expect("valid settings");
    let (pool, errands) = start_in(&budget, 1);
    assert!(open_one(&pool), "min_idle wants one");
    let lease = take(&pool);
    (budget, pool, errands, lease)
}

/// What the only connection of a pool weighs.
fn reading(pool: &Pool) -> Option<WeightReading> {
    let store = pool.lock();
    let (key, record) = store.slots.iter_with_keys().next()?;
    Some(WeightReading {
        key,
        id: record.id,
        weight: Weight::Measured(WEIGHT),
    })
}

/// What a weighing does with what it has read.
fn report(pool: &Pool, reading: WeightReading) {
    let now = pool.clock.now();
    let weighing = {
        let mut store = pool.lock();
        let weighing = store.weighed(&[reading], now);
        pool.finish(store);
        weighing
    };
    pool.report_weight(weighing.change, weighing.heaviest);
}

// ---- a report against the end of its connection ----------------------------------------------------

fn report_against_end(report: fn(&Pool, WeightReading)) {
    loom::model(move || {
        let (budget, pool, errands, lease) = holder(2 * WEIGHT);
        let reading = reading(&pool).expect("it is open");
        let ender = thread::spawn(move || PooledConnection::detach(lease));
        report(&pool, reading);
        ender.join().expect("no panic");
        let weight = (pool.lock().status().weight, budget.status().weight);
        assert_eq!(weight, (0, 0), "what is gone weighs nothing");
        tear_down(pool, errands);
    });
}

#[test]
fn weight_that_is_reported_while_its_connection_goes_does_not_stay() {
    report_against_end(report);
}

#[test]
#[should_panic(expected = "what is gone weighs nothing")]
fn reporting_before_noting_is_found() {
    report_against_end(|pool, reading| {
        let is_there = |key: SlotKey| {
            let mut store = pool.lock();
            store.slots.find(key, reading.id).is_some()
        };
        // Planted: the budget is told in between, and the slot takes nothing along.
        if is_there(reading.key) {
            pool.report_weight(i128::from(WEIGHT), Some(WEIGHT));
            let mut store = pool.lock();
            if let Some(record) = store.slots.find(reading.key, reading.id) {
                record.weight = WEIGHT;
                store.total_weight += u128::from(WEIGHT);
            }
            pool.finish(store);
        }
    });
}

// ---- a budget that is too heavy against a return ---------------------------------------------------

fn shed_against_return(report: fn(&Pool, WeightReading)) {
    loom::model(move || {
        let (budget, pool, mut errands, lease) = holder(WEIGHT / 2);
        let reading = reading(&pool).expect("it is open");
        let returner = thread::spawn(move || drop(lease));
        report(&pool, reading);
        returner.join().expect("no panic");
        run_errands(&pool, &mut errands);
        let size = pool.lock().status().size();
        assert_eq!(size, 0, "it is closed, wherever it was found");
        assert_eq!(budget.status().weight, 0);
        pool.close();
    });
}

#[test]
fn heavy_connection_that_comes_home_while_the_budget_sheds_is_closed() {
    shed_against_return(report);
}

#[test]
#[should_panic(expected = "it is closed, wherever it was found")]
fn marking_what_was_leased_before_is_found() {
    shed_against_return(|pool, reading| {
        let mut store = pool.lock();
        if store.slots.get(reading.key).state() == State::Idle {
            store.slots.get_mut(reading.key).weight = WEIGHT;
            store.shed_idle(WEIGHT);
            return pool.finish(store);
        }
        pool.finish(store);
        // Planted: it comes home in between, and is parked.
        let mut store = pool.lock();
        if let Some(record) = store.slots.find(reading.key, reading.id) {
            record.weight = WEIGHT;
            record.close_reason = Some(crate::id::CloseReason::Overweight);
        }
        pool.finish(store);
    });
}
