//! Requests that are sent again, though the child that died may have executed them.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::Client;
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

#[test]
fn what_only_reads_is_sent_again_once_to_a_shared_child() {
    run(are_sent_again_once("sharing = 'shared'"));
}

#[test]
fn what_only_reads_is_sent_again_once_to_a_fresh_child() {
    run(are_sent_again_once("sharing = 'request'\nspare = 0"));
}

async fn are_sent_again_once(sharing: &str) {
    // At the same time: the pool waits longer and longer before it replaces a child that has died.
    tokio::join!(
        is_sent_again_once(sharing, "resources/read"),
        is_sent_again_once(sharing, "completion/complete"),
    );
}

async fn is_sent_again_once(sharing: &str, method: &str) {
    for deaths in [1, 2] {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, &format!("{sharing}\nchildren_max = 1")));
        let client = Client::new(proxy.address);
        let children = async {
            for _ in 0..deaths {
                let mut child = beacon.next().await;
                assert_eq!(child.line().await, format!("{method}\n"));
                child.signal(Signal::SIGKILL);
                child.gone().await;
            }
            if deaths == 1 {
                let mut child = beacon.next().await;
                assert_eq!(child.line().await, format!("{method}\n"));
                child.tell("again").await;
            }
        };
        let (reply, ()) = tokio::join!(client.ask(1, method, json!({})), children);
        match deaths {
            1 => assert_eq!(reply["result"]["word"], "again", "{reply}"),
            _ => {
                let said = reply["error"]["message"].as_str().unwrap();
                assert!(said.contains("outcome unknown"), "{said}");
            }
        }
    }
}
