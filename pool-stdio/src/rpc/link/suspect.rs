//! What a pool is told of the child: that it may hang, and that it works on what was given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pool_core::SuspicionSink;
use serde_json::Value;
use tokio::time::timeout;

use super::own_frames::unlock_and_wake_driver;
use super::{Link, OwnPing};
use crate::process::lock;
use crate::rpc::protocol::Cancel;
use crate::rpc::state::LinkState;
use crate::rpc::table::CallId;

impl Link {
    /// The child is suspected to hang, for a reason that only the driver sees.
    pub(in crate::rpc) fn suspect(&self) {
        let next = self.numbers.load(Ordering::Relaxed);
        lock(&self.state).suspect(next);
        self.publish_suspicion();
    }

    /// Tells the pool what the state says now, outside of all locks. Two threads can come here in any
    /// order. Each looks at the state again after it has told the pool, so the last word is true.
    pub(super) fn publish_suspicion(&self) {
        let Some(sink) = lock(&self.suspicion_sink).clone() else {
            return;
        };
        let mut told = None;
        loop {
            let (is_suspected, change) = lock(&self.state).suspicion_change();
            if told == Some(change) {
                return;
            }
            told = Some(change);
            sink.set(is_suspected);
        }
    }

    /// Lets the pool know from now on whether the child is suspected to hang.
    pub(in crate::rpc) fn watch_suspicion(&self, sink: SuspicionSink) {
        *lock(&self.suspicion_sink) = Some(Arc::new(sink));
        if lock(&self.state).is_suspected() {
            self.publish_suspicion();
        }
    }

    /// Keeps `load`, by which a request that was given up was held, until the child is done with it.
    pub(in crate::rpc) fn keep_load(&self, call: CallId, load: impl Send + 'static) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        let next = self.numbers.load(Ordering::Relaxed);
        // In MCP, what was cancelled has no reply.
        let is_answered = self.settings.cancel != Cancel::Mcp;
        let mut state = lock(&self.state);
        let Some(end) = state.begin_load(call, next, is_answered) else {
            return;
        };
        let wants_ping = self.wants_ping(&state);
        drop(state);
        if wants_ping {
            self.ping();
        }
        let limit = self.settings.hang_after;
        runtime.spawn(async move {
            drop(timeout(limit, end).await);
            drop(load);
        });
    }

    /// Whether to ping the child for what counts as load. If there is no place for a ping, the next read looks again:
    /// a try would only count one more message as not sent.
    pub(super) fn wants_ping(&self, state: &LinkState) -> bool {
        state.wants_ping() && self.own_places.available_permits() > 0
    }

    /// Pings the child in this way from now on. The first one stays.
    pub(in crate::rpc) fn ping_with(&self, ping: OwnPing) {
        drop(self.own_ping.set(ping));
    }

    pub(in crate::rpc) fn own_ping(&self) -> Option<&OwnPing> {
        self.own_ping.get()
    }

    /// Sends a ping that nobody awaits, if the protocol has one: whatever comes back is a sign of life.
    pub(in crate::rpc) fn ping(&self) {
        let (method, params) = match (self.own_ping.get(), self.settings.ping) {
            (Some(ping), _) => (&*ping.method, format!(r#","params":{}"#, ping.params.get())),
            (None, Some(method)) => (method, String::new()),
            (None, None) => return,
        };
        let call = self.next_number();
        let method = Value::from(method);
        let message = format!(r#"{{"jsonrpc":"2.0","id":{call},"method":{method}{params}}}"#);
        let Some(mut frame) = self.own_frame(message.into_bytes()) else {
            return;
        };
        let mut state = lock(&self.state);
        // Order: noted before its answer can come, and only if one will come.
        if self.push_now(&mut state, &mut frame) {
            state.note_unawaited_ping(call);
            unlock_and_wake_driver(state);
        }
    }
}
