//! A server that serves one request at a time.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// All else is default: how many children help is found out from the requests.
#[test]
fn callers_of_a_server_that_serves_one_at_a_time_get_further_children() {
    run(async {
        let beacon = Beacon::new();
        // Each request would have its line.
        let log = "[log]\nformat = 'off'\n";
        let server = legacy(&beacon, "sharing = 'shared'");
        let proxy = Proxy::configured(&format!("{log}{server}"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let served_by = RefCell::new(BTreeSet::new());
        // A second child is only tried out. That it is kept, and two more come, says that it helped.
        let is_over = || served_by.borrow().len() > 2;
        let callers = (0..CALLERS).map(|number| {
            let (client, served_by) = (&client, &served_by);
            async move {
                while !is_over() {
                    let pid = client
                        .call(number, "work", json!({ "seconds": 0.01 }))
                        .await;
                    served_by.borrow_mut().insert(pid);
                }
            }
        });
        join_all(callers).await;
    });
}

const CALLERS: u32 = 8;
