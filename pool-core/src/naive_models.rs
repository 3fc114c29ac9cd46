//! How a part of this crate is compared with a naive model of it, in random histories.

use std::cell::Cell;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Plays so many histories. `step` performs an operation on both and compares them. At least `operations_min`
/// must have been compared, so that a run cannot shrink to nothing unseen.
///
/// # Panics
///
/// If a history shows a difference, with the shortest one that was found.
pub(crate) fn assert_agree<O: Debug, R>(
    cases: u32,
    histories: impl Strategy<Value = Vec<O>>,
    operations_min: usize,
    begin: impl Fn() -> R,
    step: impl Fn(&mut R, &O),
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let compared = Cell::new(0);
    let result = TestRunner::new(config).run(&histories, |operations| {
        let mut rig = begin();
        for operation in &operations {
            step(&mut rig, operation);
            compared.set(compared.get() + 1);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let compared = compared.get();
    assert!(compared >= operations_min, "{compared} compared");
}
