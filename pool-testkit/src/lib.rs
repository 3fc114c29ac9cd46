//! What it takes to test a connection pool, and whatever is built on one, without a sleep.
//!
//! | module | what it is for |
//! |---|---|
//! | [`gate`] | an await that the test holds shut until it lets the code under test go on |
//! | [`connector`] | a connector to nothing, whose every answer the test decides |
//! | [`fault`] | seeded failures, panics, hangs and deaths around any connector, which replay |
//! | [`ledger`] | an observer that checks every event of a pool against the rules of pools |
//! | `fixture` | a child process that misbehaves in every known way (Unix) |
//! | `census` | the processes and descriptors that are left over (Unix) |
//! | [`conformance`](mod@conformance) | one test for each duty of a connector: is this one fit for a pool? |
//!
//! Assertions here panic with what a reader needs to see the cause: the rule and the events that
//! broke it, the plan with its seed. Library code of a test kit panics for nothing else.
//!
//! # Examples
//!
//! Code that uses a pool, over a fake whose first connect fails, with every event of the pool checked:
//!
//! ```
//! use pool_core::ConnectionPool;
//! use pool_testkit::Call;
//! use pool_testkit::connector::{Answer, pair};
//! use pool_testkit::ledger::Ledger;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (connector, fake) = pair();
//! let ledger = Ledger::new(2);
//! let pool = ConnectionPool::builder(connector)
//!     .max_size(2)
//!     .observer(Arc::new(ledger.clone()))
//!     .build()?;
//!
//! fake.queue(Call::Connect, [Answer::Transient]);
//! drop(pool.acquire().await?); // the code under test
//! assert_eq!(fake.counts().connect.started, 2);
//!
//! pool.close(Duration::from_secs(1)).await;
//! ledger.assert_settled();
//! assert_eq!(fake.counts().alive, 0);
//! # Ok(())
//! # }
//! ```
//!
//! A connector under test, with faults around it and the test in control of what is behind it:
//!
//! ```
//! use std::time::Duration;
//!
//! use pool_core::{CloseReason, ConnectContext, ConnectionId, Connector};
//! use pool_testkit::connector::{Answer, pair};
//! use pool_testkit::fault::{FaultPlan, FaultyConnector, Odds};
//! use pool_testkit::Call;
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // Behind: a fake whose first connect takes five seconds. Around it: closes that hang.
//! let (connector, fake) = pair();
//! fake.queue(Call::Connect, [Answer::After(Duration::from_secs(5))]);
//! let plan = FaultPlan::from_env_or(42).call_odds(Call::Close, Odds::none().hang(1000));
//! let connector = FaultyConnector::new(connector, plan);
//! let faults = connector.switch();
//!
//! let (id, start) = (ConnectionId::from_u64(0), Instant::now());
//! let cx = ConnectContext::new(id, 1, start + Duration::from_secs(30));
//! let conn = connector.connect(&cx).await.expect("it was not told to fail");
//! assert_eq!(start.elapsed(), Duration::from_secs(5));
//!
//! // The peer goes away: the connector sees it without traffic.
//! assert!(fake.kill(id));
//! assert!(!connector.is_alive(&conn));
//!
//! // The close hangs until the faults end, and then really closes.
//! let close = connector.close(conn, CloseReason::Died);
//! let test = async {
//!     tokio::task::yield_now().await;
//!     assert_eq!((faults.hanging(), fake.counts().alive), (1, 1));
//!     faults.turn_off();
//! };
//! tokio::join!(close, test);
//! assert_eq!(fake.closes(), [(id, CloseReason::Died)]);
//! assert_eq!((fake.counts().alive, fake.counts().dropped_unclosed), (0, 0));
//! # }
//! ```
//!
//! A connector of one's own, under every rule there is (the whole example, in under 30 lines, is in
//! [`conformance`](mod@conformance)):
//!
//! ```
//! use pool_testkit::conformance::{self, Subject};
//! use pool_testkit::connector::{FakeConnection, pair};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (connector, fake) = pair();
//! let subject = Subject::new(connector).kill(move |conn: &FakeConnection| {
//!     assert!(fake.kill(conn.id()));
//!     std::future::ready(())
//! });
//! // Names every broken rule; what it was not told how to try is listed, too.
//! conformance::run(subject).await.assert_kept();
//! # }
//! ```
//!
//! # Replaying a failure
//!
//! Print the [`FaultPlan`](fault::FaultPlan) of a failed test: its text begins with its seed.
//! With `POOL_TESTKIT_SEED` set to it, in decimal or with `0x` in front, every plan made by
//! [`FaultPlan::from_env_or`](fault::FaultPlan::from_env_or) has that seed:
//!
//! ```text
//! POOL_TESTKIT_SEED=42 cargo test the_test_that_failed
//! ```

mod call;
#[cfg(unix)]
pub mod census;
pub mod conformance;
pub mod connector;
pub mod fault;
#[cfg(unix)]
pub mod fixture;
pub mod gate;
pub mod ledger;

pub use call::{Call, Query};
