//! A connector to nothing, whose every answer the test decides.
//!
//! [`pair`] makes two ends: a [`FakeConnector`] for the pool and a [`FakeHandle`] for the test.
//! By default every call succeeds at once. The test can take over each method by itself:
//!
//! * **Scripted**: [`FakeHandle::queue`] answers the next calls, [`FakeHandle::set`] and
//!   [`FakeHandle::set_with`] all later ones.
//! * **Manual**: a call that is answered with [`Answer::Manual`] waits until the test takes it up with
//!   [`FakeHandle::next`] and decides how it ends.
//!
//! [`FakeHandle::counts`] and [`FakeHandle::closes`] tell what really happened, and
//! [`FakeHandle::until`] waits for it without a sleep. One fake serves one pool: it finds a
//! connection by the id that the pool gave it.

mod connection;
mod fake;
mod fake_counts;
mod handle;
mod pending;
mod record;
mod script;
mod state;
#[cfg(test)]
mod tests;

pub use connection::FakeConnection;
pub use fake::{FakeConnector, pair};
pub use fake_counts::{CallCounts, FakeCounts};
pub use handle::FakeHandle;
pub use pending::PendingCall;
pub use script::{Answer, CallSite, FakeError, QueryAnswer};
