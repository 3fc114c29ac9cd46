//! Connections over children.

use bytes::Bytes;
use pool_core::{ConnectionPool, SharedPool};
use pool_stdio::{JsonRpcConnector, OneShotConnector, Protocol, StdioConnector};
use pool_testkit::fixture::{Behaviour, Step};

use crate::rig::{LIMIT, run, spec};

#[test]
fn requests_of_an_exclusive_connection_are_answered_also_large_ones() {
    run(async {
        let connector = StdioConnector::new(spec(&Behaviour::echo())).unwrap();
        let pool = ConnectionPool::builder(connector)
            .max_size(2)
            .build()
            .unwrap();
        for length in [1, 100, 5_000, 70_000, 900_000] {
            let mut connection = pool.acquire().await.unwrap();
            let message = Bytes::from(vec![b'm'; length]);
            let reply = connection.request(message.clone()).await.unwrap();
            assert_eq!(reply.bytes.len(), message.len());
        }
        assert_eq!(pool.status().idle, 1, "one child answered them all");
        pool.close(LIMIT).await;
    });
}

#[test]
fn a_one_shot_child_gets_all_of_its_input_and_then_the_end() {
    run(async {
        let connector = OneShotConnector::new(spec(&Behaviour::echo())).unwrap();
        let pool = connector.pool().build().unwrap();
        for length in [0, 10, 300_000] {
            let input = "x".repeat(length) + "\n";
            let mut one_shot = pool.acquire().await.unwrap();
            let output = one_shot.run(input.clone()).await.unwrap();
            assert_eq!(output.stdout, input);
        }
        pool.close(LIMIT).await;
    });
}

#[test]
fn json_rpc_calls_share_a_child_and_learn_of_its_death() {
    run(async {
        let connector = JsonRpcConnector::new(
            spec(&Behaviour::new().then(Step::ServeRpc)),
            Protocol::Plain,
        )
        .unwrap();
        let pool = SharedPool::builder(connector).max_size(1).build().unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..64_u32 {
            let pool = pool.clone();
            calls.spawn(async move {
                let lease = pool.acquire().await.unwrap();
                for round in 0..10 {
                    let said: (u32, u32) = lease.call("echo", &(number, round)).await.unwrap();
                    assert_eq!(said, (number, round));
                }
            });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        let lease = pool.acquire().await.unwrap();
        let text = "é".repeat(200_000);
        let said: String = lease.call("echo", &text).await.unwrap();
        assert_eq!(said, text);
        let error = lease.call::<()>("exit", &[3]).await.unwrap_err();
        assert!(error.to_string().contains('3'), "{error}");
        drop(lease);
        pool.close(LIMIT).await;
    });
}
