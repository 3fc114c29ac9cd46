//! Criterion's view of the two scenarios that matter most: nobody waits, and nearly all wait.
//!
//! To compare pools, prefer the program `pools`: Criterion measures one subject after the other, so
//! a disturbance of the machine hits only one of them.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pool_benches::pools::{CROWD, Contender, Load, UNCONTENDED, all_contenders};

fn pools(criterion: &mut Criterion) {
    for (scenario, load) in [("uncontended", UNCONTENDED), ("crowd-64", CROWD)] {
        let mut group = criterion.benchmark_group(scenario);
        group
            .sample_size(20)
            .measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(500));
        for contender in all_contenders() {
            group.bench_function(contender.name, |bencher| {
                bencher.iter_custom(|iterations| time(&contender, load, iterations));
            });
        }
        group.finish();
    }
}

/// The time of so many operations. The tasks share them equally, so the number that is done can
/// differ a little; the time is scaled to the number that Criterion asked for.
fn time(contender: &Contender, load: Load, iterations: u64) -> Duration {
    let ops = usize::try_from(iterations).unwrap_or(usize::MAX);
    let per_op_ns = contender
        .one_pass_ns(&Load { ops, ..load })
        .expect("every subject can bear these loads");
    Duration::from_secs_f64(per_op_ns * iterations as f64 / 1e9)
}

criterion_group!(benches, pools);
criterion_main!(benches);
