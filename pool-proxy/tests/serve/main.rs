//! The program, started and asked over HTTP, in front of real children.
//!
//! | file | what it is about |
//! |---|---|
//! | `proxy` | how a test starts the program and sees its children |
//! | `client` | how a test asks it |
//! | `shared` | children that many clients share |
//! | `subscriptions` | which clients of shared children are told of which resources |
//! | `lists` | lists that are seen while no child lives, and what they say of tools |
//! | `memory` | how much memory children may occupy |
//! | `serial` | a server that serves one request at a time |
//! | `own` | children of one session each |
//! | `promised` | such children, and sessions that begin without one |
//! | `fresh` | children of one request each |
//! | `stateless` | clients of revision 2026-07-28 |
//! | `era` | how it is found out which era a child speaks |
//! | `modern_children` | children of revision 2026-07-28 |
//! | `blocked` | what does not take what it is sent |
//! | `idle` | connections whose clients ask for nothing |
//! | `gone` | clients that go away while their request waits for a child |
//! | `keys` | which clients have children in common |
//! | `limits` | how many requests may be in flight |
//! | `starts` | how many children start at a time |
//! | `open_files` | how many connections the descriptors allow |
//! | `log` | what is said of requests and of starts |
//! | `failed_starts` | how often starts that fail count, and what is said of them |
//! | `repeats` | what is sent again when a child dies |
//! | `refusals` | what is refused before a child sees it |
//! | `life` | start, end, and what is said of the proxy itself |

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "the exemption for tests covers test functions, not what they share"
)]

mod blocked;
mod client;
mod era;
mod failed_starts;
mod fresh;
mod gone;
mod idle;
mod keys;
mod life;
mod limits;
mod lists;
mod log;
mod memory;
mod modern_children;
#[cfg(target_os = "linux")]
mod open_files;
mod own;
mod promised;
mod proxy;
mod refusals;
mod repeats;
mod serial;
mod shared;
mod starts;
mod stateless;
mod subscriptions;

use std::time::Duration;

/// Runs a test, which hangs no longer than this.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(120);
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("it hangs") });
}
