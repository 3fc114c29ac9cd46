//! Exchanges over leases of real children: what a lease is held for, and what a client's handshake does.

use std::time::Duration;

use pool_core::{ConnectionPool, SharedPool};
use pool_stdio::{
    ClientIds, Exchange, JsonRpcConnection, OnDrop, Protocol, RpcError, RpcLease, RpcLimits, Terms,
};
use pool_tests::children::eager;
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_runtimes};
use crate::{AMPLE, connector, server};

type Shared = SharedPool<JsonRpcConnection>;

fn shared(bed: &Bed) -> Shared {
    let connector = connector(bed, &server(), Protocol::Mcp);
    eager(SharedPool::builder(connector)).build().unwrap()
}

async fn begin(pool: &Shared, message: &str, terms: &Terms) -> Result<Exchange, RpcError> {
    pool.acquire()
        .await
        .unwrap()
        .exchange(message.to_owned(), terms)
}

async fn reply(exchange: &mut Exchange) -> Value {
    let reply = exchange.reply().await.unwrap().unwrap();
    serde_json::from_slice(&reply).unwrap()
}

/// Polls the exchange until the child has its request, which it holds.
async fn held(pool: &Shared, exchange: &mut Exchange) {
    let child = pool.acquire().await.unwrap();
    let pending = child.status().pending;
    tokio::select! {
        biased;
        outcome = exchange.reply() => panic!("{outcome:?}"),
        () = async {
            while child.status().pending == pending {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    child.call::<Value>("ping", &()).await.unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);
const HOLD: &str = r#"{"jsonrpc":"2.0","id":"h","method":"hold","params":["mine"]}"#;

#[test]
fn a_lease_lasts_until_the_reply_even_if_the_exchange_is_kept() {
    on_both_runtimes(async |bed| {
        let pool = shared(bed);
        let terms = Terms::new().within(AMPLE);
        let mut exchange = begin(&pool, HOLD, &terms).await.unwrap();
        held(&pool, &mut exchange).await;
        assert_eq!(pool.status().leases, 1);
        let child = pool.acquire().await.unwrap();
        assert_eq!(child.process().pid(), exchange.pid());
        child.call::<u32>("release", &()).await.unwrap();
        drop(child);
        assert_eq!(reply(&mut exchange).await["result"], json!(["mine"]));
        assert_eq!(pool.status().leases, 0);
    });
}

#[test]
fn a_detached_request_is_load_until_its_reply() {
    on_both_runtimes(async |bed| {
        let pool = shared(bed);
        let terms = Terms::new().on_drop(OnDrop::Detach).within(AMPLE);
        let mut exchange = begin(&pool, HOLD, &terms).await.unwrap();
        held(&pool, &mut exchange).await;
        drop(exchange);
        assert_eq!(pool.status().leases, 1);
        let child = pool.acquire().await.unwrap();
        assert_eq!(
            child.call::<u32>("release", &()).await.unwrap(),
            1,
            "it was not cancelled"
        );
        drop(child);
        while pool.status().leases > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[cfg(not(windows))]
#[test]
fn a_cancelled_request_is_load_until_its_child_has_read_that() {
    on_both_runtimes(async |bed| {
        // Only what the child says ends it.
        let limits = RpcLimits {
            hang_after: HOUR,
            ..RpcLimits::default()
        };
        let connector = connector(bed, &server(), Protocol::Mcp).limits(limits);
        let pool = eager(SharedPool::builder(connector)).build().unwrap();
        for limit in [None, Some(Duration::from_millis(50))] {
            let terms = limit.map_or(Terms::new(), |limit| Terms::new().within(limit));
            let mut exchange = begin(&pool, HOLD, &terms).await.unwrap();
            held(&pool, &mut exchange).await;
            bed.signal_all(pool_stdio::Signal::Stop);
            if limit.is_some() {
                exchange.reply().await.unwrap_err();
            }
            drop(exchange);
            assert_eq!(pool.status().leases, 1);
            bed.signal_all(pool_stdio::Signal::Continue);
            while pool.status().leases > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_cancelled_request_is_load_no_longer_than_a_child_may_be_silent() {
    on_both_runtimes(async |bed| {
        let limits = RpcLimits {
            // Long enough for a child on a busy machine to answer.
            hang_after: Duration::from_secs(1),
            ..RpcLimits::default()
        };
        let connector = connector(bed, &server(), Protocol::Plain).limits(limits);
        let pool = eager(SharedPool::builder(connector)).build().unwrap();
        let mut exchange = begin(&pool, HOLD, &Terms::new()).await.unwrap();
        held(&pool, &mut exchange).await;
        let begun = tokio::time::Instant::now();
        drop(exchange);
        assert_eq!(pool.status().leases, 1);
        while pool.status().leases > 0 {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= limits.hang_after);
    });
}

#[test]
fn a_cancelled_request_is_load_until_its_late_reply() {
    on_both_runtimes(async |bed| {
        let limits = RpcLimits {
            hang_after: HOUR,
            ..RpcLimits::default()
        };
        let connector = connector(bed, &server(), Protocol::Plain).limits(limits);
        let pool = eager(SharedPool::builder(connector)).build().unwrap();
        let mut exchange = begin(&pool, HOLD, &Terms::new()).await.unwrap();
        held(&pool, &mut exchange).await;
        drop(exchange);
        let child = pool.acquire().await.unwrap();
        assert_eq!(pool.status().leases, 2);
        assert_eq!(child.call::<u32>("release", &()).await.unwrap(), 1);
        drop(child);
        while pool.status().leases > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_detached_request_whose_runtime_has_gone_leaves_nothing_behind() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let exchange = runtime.block_on(async {
        let pool = shared(&bed);
        let terms = Terms::new().on_drop(OnDrop::Detach);
        let mut exchange = begin(&pool, HOLD, &terms).await.unwrap();
        held(&pool, &mut exchange).await;
        exchange
    });
    drop(runtime);
    drop(exchange);
    bed.end();
}

#[test]
fn a_clients_initialize_is_answered_with_the_childs_own_result_or_refused() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let connector = connector.initialize(&json!({})).unwrap();
        let pool = eager(SharedPool::builder(connector)).build().unwrap();
        let terms = Terms::new().within(AMPLE).client(&ClientIds::new());
        let hello = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}"#;
        let mut exchange = begin(&pool, hello, &terms).await.unwrap();
        let answer = reply(&mut exchange).await;
        let own = pool.acquire().await.unwrap();
        let own: Value = serde_json::from_str(own.initialize_result().unwrap().get()).unwrap();
        assert_eq!(
            answer,
            json!({ "jsonrpc": "2.0", "id": "i", "result": own })
        );
        // Its end is not told to a child that knows it already.
        let done = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let mut exchange = begin(&pool, done, &terms).await.unwrap();
        assert!(exchange.reply().await.unwrap().is_none());

        let plain = shared(bed);
        let error = begin(&plain, hello, &terms).await.unwrap_err();
        assert!(matches!(error, RpcError::BadRequest { .. }), "{error}");
        assert_eq!(plain.status().leases, 0);
    });
}

#[test]
fn a_shared_language_server_is_not_shut_down_by_a_client() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Lsp);
        let connector = connector.framing(pool_stdio::Framing::Lines);
        let pool = eager(SharedPool::builder(connector)).build().unwrap();
        let terms = Terms::new().within(AMPLE);
        let shutdown = r#"{"jsonrpc":"2.0","id":1,"method":"shutdown"}"#;
        let mut exchange = begin(&pool, shutdown, &terms).await.unwrap();
        assert_eq!(reply(&mut exchange).await["result"], Value::Null);
        let mut exchange = begin(&pool, r#"{"jsonrpc":"2.0","method":"exit"}"#, &terms)
            .await
            .unwrap();
        assert!(exchange.reply().await.unwrap().is_none());
        let child = pool.acquire().await.unwrap();
        assert_eq!(child.call::<Value>("ping", &()).await.unwrap(), json!({}));
        assert_eq!(
            child.process().stderr_tail().text,
            "",
            "it was told nothing"
        );
    });
}

#[test]
fn an_exclusive_lease_serves_one_exchange_and_comes_back() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = ConnectionPool::builder(connector)
            .max_size(1)
            .build()
            .unwrap();
        let terms = Terms::new().within(Duration::from_secs(60));
        let mut pids = Vec::new();
        for number in 0..3 {
            let echo = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":[{number}]}}"#);
            let lease = pool.acquire().await.unwrap();
            let mut exchange = lease.exchange(echo, &terms).unwrap();
            pids.push(exchange.pid());
            assert_eq!(reply(&mut exchange).await["result"], json!([number]));
        }
        pids.dedup();
        assert_eq!(pids.len(), 1);
    });
}
