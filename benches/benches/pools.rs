//! Criterion's view of the two scenarios that matter most: nobody waits, and nearly everybody does.
//!
//! For a comparison of pools prefer the `pools` program: Criterion measures one subject after the
//! other, so that a disturbance of the machine hits one of them alone.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pool_benches::pools::contender::Contender;
use pool_benches::pools::load::Load;
use pool_benches::pools::scenario::{CROWD, UNCONTENDED};
use pool_benches::pools::subjects::contenders;

fn pools(criterion: &mut Criterion) {
    for (scenario, load) in [("uncontended", UNCONTENDED), ("crowd-64", CROWD)] {
        let mut group = criterion.benchmark_group(scenario);
        group
            .sample_size(20)
            .measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(500));
        for contender in contenders() {
            group.bench_function(contender.name, |bencher| {
                bencher.iter_custom(|iterations| time(&contender, load, iterations));
            });
        }
        group.finish();
    }
}

/// The time of so many operations. The tasks share them equally, so that a few more or fewer are
/// done; the time is scaled to what Criterion asked for.
fn time(contender: &Contender, load: Load, iterations: u64) -> Duration {
    let ops = usize::try_from(iterations).unwrap_or(usize::MAX);
    let per_op_ns = contender
        .one_pass_ns(&Load { ops, ..load })
        .expect("every subject can bear these loads");
    Duration::from_secs_f64(per_op_ns * iterations as f64 / 1e9)
}

criterion_group!(benches, pools);
criterion_main!(benches);
