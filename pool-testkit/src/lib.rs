//! Tests of connection pools, and of code that uses a pool, without sleeps.
//!
//! | module | what it has |
//! |---|---|
//! | [`gate`] | an await that the test holds shut until it lets the code under test go on |
//! | [`connector`] | a connector to nothing, whose every answer the test decides |
//! | [`fault`] | seeded failures, panics, hangs and deaths for any connector, which can be replayed |
//! | [`ledger`] | an observer that checks every event of a pool against the rules of pools |
//! | `fixture` | a child process that misbehaves as the test says (Unix) |
//! | `census` | a count of the processes and descriptors that a test leaves behind (Unix) |
//! | [`conformance`](mod@conformance) | one test for each duty of a connector: is this one fit for a pool? |
//!
//! An assertion that fails says what a reader needs to find the cause: the rule and the events that
//! broke it, or the plan with its seed.
//!
//! # Examples
//!
//! Code that uses a pool, over a fake whose first connect fails. The ledger checks every event of the
//! pool:
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
//! A connector with faults around it. The test controls what is behind it:
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
//! // Inside is a fake whose first connect takes five seconds. Around it, closes hang.
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
//! // The close hangs until the faults end. Then it closes the connection.
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
//! A connector of your own, under every rule (the module [`conformance`](mod@conformance) has the whole
//! example):
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
//! // Fails with every broken rule by name. The report also lists the rules that need more to be said.
//! conformance::run(subject).await.assert_kept();
//! # }
//! ```
//!
//! # Replaying a failure
//!
//! Print the [`FaultPlan`](fault::FaultPlan) of a failed test: its text begins with its seed.
//! Set `POOL_TESTKIT_SEED` to it, in decimal or in hexadecimal with `0x` in front, and every plan that
//! [`FaultPlan::from_env_or`](fault::FaultPlan::from_env_or) makes has that seed:
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
