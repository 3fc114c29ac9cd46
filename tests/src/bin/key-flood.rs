//! A million distinct keys pass through a keyed pool of few places, while some keys are at work; then a
//! million acquires race against the eviction of their keys. Memory stays flat, no key at work is
//! disturbed, and no acquire sees the end of its key.
//!
//! `cargo run --release -p pool-tests --bin key-flood -- [KEYS] [ACQUIRES]`.

#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{Budget, ConnectionPool, KeyedAcquireError, KeyedPool, connector_fn};
use pool_tests::bed::start;
use pool_tests::random::SplitMix64;
use tokio::runtime;

const MILLION: u64 = 1_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = || match arguments.next() {
        None => Some(MILLION),
        Some(number) => number.ok(),
    };
    let (Some(keys), Some(acquires)) = (next(), next()) else {
        println!("usage: key-flood [KEYS] [ACQUIRES]");
        return ExitCode::FAILURE;
    };
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        flood(keys).await;
        races(acquires).await;
    });
    ExitCode::SUCCESS
}

/// Far more keys than places.
async fn flood(keys: u64) {
    const PLACES: usize = 64;
    const AT_WORK: u64 = 16;
    let budget = Budget::builder("flood").max_connections(48).build();
    let budget = budget.expect("the settings are valid");
    let pools = KeyedPool::builder(|_key: &u64| {
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(1)
    })
    .max_keys(PLACES)
    .budget(&budget)
    .build()
    .expect("the settings are valid");
    let mut held = Vec::new();
    for key in 0..AT_WORK {
        held.push(pools.acquire(&key).await.expect("there is room"));
    }
    let mut settled_bytes = 0;
    for key in AT_WORK..AT_WORK + keys {
        loop {
            match pools.acquire(&key).await {
                Ok(lease) => break drop(lease),
                // As many keys as there may be are still closing: their tasks have not run.
                Err(KeyedAcquireError::TooManyKeys { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        if key == AT_WORK + keys / 10 {
            settled_bytes = resident_bytes();
        }
    }
    let status = pools.status();
    assert!(status.keys <= PLACES, "{status:?}");
    for key in 0..AT_WORK {
        let status = pools.status_of(&key).expect("it is in use");
        assert_eq!(status.leased, 1, "a key at work was disturbed");
    }
    let grown = resident_bytes().saturating_sub(settled_bytes);
    assert!(grown < GROWTH_MAX, "{grown} bytes more after {keys} keys");
    println!(
        "{keys} keys through {PLACES} places: {grown} bytes more, {AT_WORK} at work undisturbed"
    );
    drop(held);
    assert!(pools.close(MINUTE).await.is_complete());
    assert_eq!(budget.status().used, 0);
}

/// What allocators and tables may grow by.
const GROWTH_MAX: u64 = 8 << 20;

/// The memory of this process; zero where the system does not tell.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Acquires against the eviction of their keys, and against new keys that take their places.
async fn races(acquires: u64) {
    const CALLERS: u64 = 4;
    const KEYS: u64 = 6;
    let pools = KeyedPool::builder(|_key: &u64| {
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(2)
    })
    .max_keys(3)
    .build()
    .expect("the settings are valid");
    let ends = Arc::new(AtomicBool::new(false));
    let evicting = start({
        let (pools, ends) = (pools.clone(), Arc::clone(&ends));
        async move {
            let mut random = SplitMix64::new(7);
            let mut evicted = 0;
            while !ends.load(Ordering::Relaxed) {
                evicted += pools.evict(&random.below(KEYS));
                tokio::task::yield_now().await;
            }
            evicted
        }
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|seed| {
            let pools = pools.clone();
            start(async move {
                let mut random = SplitMix64::new(seed);
                let mut served = 0_u64;
                while served < acquires.div_ceil(CALLERS) {
                    match pools.acquire(&random.below(KEYS)).await {
                        Ok(lease) => drop(lease),
                        // Four callers and three places.
                        Err(KeyedAcquireError::TooManyKeys { .. }) => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut served = 0;
    for caller in callers {
        served += caller.await.expect("no acquire saw the end of its key");
    }
    ends.store(true, Ordering::Relaxed);
    let evicted = evicting.await.expect("no panic");
    println!(
        "{served} acquires, {evicted} connections evicted meanwhile: none saw the end of its key"
    );
    assert!(pools.close(MINUTE).await.is_complete());
}
