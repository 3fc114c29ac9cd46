//! Tests whether a connector is fit for a pool: one named rule for each of its duties.
//!
//! A [`Subject`] is the connector and what the kit must know about it: how to make an exchange, how
//! to kill the other side from outside, how to count what is open. [`run`] tries all rules and reports
//! on each; the macro [`conformance!`](crate::conformance!) makes one test of each. A rule that needs
//! something that the subject does not say is *not applicable*: the report names what is missing, and
//! the macro's test fails until the subject says it or [waives](Subject::waive) the rule.
//!
//! # Testing a connector of your own
//!
//! The connector under test opens lines to an echo that lives in a task. This is its whole test:
//!
//! ```
//! # use pool_core::{ConnectContext, ConnectError, Connector, async_trait};
//! # use std::sync::Arc;
//! # use tokio::sync::{mpsc, oneshot};
//! # type Request = (u64, oneshot::Sender<u64>);
//! # struct Line { requests: mpsc::Sender<Request>, echo: tokio::task::AbortHandle }
//! # impl Line {
//! #     async fn ask(&mut self, number: u64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
//! #         let (reply, answer) = oneshot::channel();
//! #         self.requests.send((number, reply)).await?;
//! #         Ok(answer.await?)
//! #     }
//! # }
//! # impl Drop for Line {
//! #     fn drop(&mut self) { self.echo.abort(); }
//! # }
//! # #[derive(Clone, Default)]
//! # struct MyConnector { open: Arc<()> }
//! # #[async_trait]
//! # impl Connector for MyConnector {
//! #     type Connection = Line;
//! #     async fn connect(&self, _cx: &ConnectContext) -> Result<Line, ConnectError> {
//! #         let (requests, mut receiver) = mpsc::channel::<Request>(1);
//! #         let open = Arc::clone(&self.open);
//! #         let echo = tokio::spawn(async move {
//! #             while let Some((number, reply)) = receiver.recv().await {
//! #                 drop(reply.send(number));
//! #             }
//! #             drop(open);
//! #         });
//! #         Ok(Line { requests, echo: echo.abort_handle() })
//! #     }
//! #     fn is_alive(&self, line: &Line) -> bool { !line.requests.is_closed() }
//! #     fn died(&self, line: &Line) -> Option<pool_core::BoxFuture<'static, Option<pool_core::BoxError>>> {
//! #         let requests = line.requests.clone();
//! #         Some(Box::pin(async move {
//! #             requests.closed().await;
//! #             None
//! #         }))
//! #     }
//! #     async fn close(&self, line: Line, _: pool_core::CloseReason) {
//! #         let requests = line.requests.clone();
//! #         drop(line);
//! #         requests.closed().await;
//! #     }
//! # }
//! use pool_testkit::conformance::{self, Rule, Subject};
//!
//! fn subject() -> Subject<MyConnector> {
//!     let connector = MyConnector::default();
//!     let open = Arc::downgrade(&connector.open);
//!     Subject::new(connector)
//!         .exchange(async |line: &mut Line, number| line.ask(number).await)
//!         .kill(|line: &Line| {
//!             line.echo.abort();
//!             std::future::ready(())
//!         })
//!         // Each echo holds the count; so does the connector itself.
//!         .resources(move || 1..open.strong_count())
//!         .waive(Rule::DirtIsSeen, "an answer goes to its own request, or nowhere")
//!         .waive(Rule::ConnectKeepsDeadline, "nothing to wait for")
//!         .waive(Rule::PermanentFailureIsReported, "cannot fail")
//!         .waive(Rule::TransientFailureIsReported, "cannot fail")
//! }
//!
//! mod my_connector {
//!     pool_testkit::conformance!(super::subject()); // one test for each rule
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Or all at once, wherever there is a runtime:
//! conformance::run(subject()).await.assert_proven();
//! # }
//! ```
//!
//! The examples `tcp_echo` and `unix_echo` of this crate do the same for sockets. Their subjects also
//! say how a connect stalls and how it fails.
//!
//! # What is not proven
//!
//! A trial can show that a rule is broken, not that it never is. For example, a connect is cancelled at
//! each poll that happened, not at each that could happen. Other tests come and go beside a trial, so a
//! leak of tasks counts from a quarter of the cycles on, one of descriptors from half of them. A query
//! counts as cheap if it takes less than half a millisecond; a good one takes a microsecond, which only a
//! benchmark can show.

mod judge;
mod macros;
mod report;
mod rule;
mod rules;
mod subject;
mod trial;

#[doc(hidden)]
pub use judge::assert_list;
pub use judge::{assert_rule, judge, run};
pub use report::{Report, RuleOutcome};
pub use rule::Rule;
pub use subject::Subject;
