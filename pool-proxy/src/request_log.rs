//! One line of the log and one count for each request, and its place among those in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::guard::Principal;
use crate::request_meters::RequestMeters;
use crate::sessions::RequestPlace;

/// A request that is being served. Its line is written when it is dropped.
#[derive(Debug)]
pub(crate) struct RequestLog {
    number: u64,
    meters: Arc<RequestMeters>,
    principal: Principal,
    method: String,
    pid: Option<u32>,
    begun: Instant,
    /// Whether its client decides how long it is open, so that its time says nothing of the server.
    is_stream: bool,
    outcome: &'static str,
    /// What went wrong, if that is more than the outcome says.
    error: Option<String>,
    place: Option<RequestPlace>,
}

impl RequestLog {
    pub(crate) fn new(meters: &Arc<RequestMeters>, principal: &Principal, method: &str) -> Self {
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            meters: Arc::clone(meters),
            principal: principal.clone(),
            method: shortened(method).to_owned(),
            pid: None,
            begun: Instant::now(),
            is_stream: false,
            outcome: "client gone",
            error: None,
            place: None,
        }
    }

    /// It is open for as long as its client wants.
    pub(crate) const fn note_stream(&mut self) {
        self.is_stream = true;
    }

    /// Holds the place until the request is over.
    pub(crate) fn hold(&mut self, place: RequestPlace) {
        self.place = Some(place);
    }

    pub(crate) const fn set_pid(&mut self, pid: u32) {
        self.pid = Some(pid);
    }

    /// How it ended. Until then it counts as given up by its client.
    pub(crate) const fn set_outcome(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// How it failed, and why. What the log has said already is no error here.
    pub(crate) fn set_failure(&mut self, outcome: &'static str, error: Option<String>) {
        self.outcome = outcome;
        self.error = error;
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.meters.count(self.outcome);
        if !self.is_stream {
            self.meters.record(took);
        }
        let server = &*self.meters.server;
        let ms = took.as_micros() as f64 / 1000.0;
        match &self.error {
            None => tracing::info!(
                request = self.number,
                server,
                principal = self.principal.name(),
                method = &*self.method,
                pid = self.pid,
                outcome = self.outcome,
                ms,
                "request"
            ),
            Some(error) => tracing::warn!(
                request = self.number,
                server,
                principal = self.principal.name(),
                method = &*self.method,
                pid = self.pid,
                outcome = self.outcome,
                ms,
                error,
                "request"
            ),
        }
    }
}

/// As much of it as a method of the protocol can have. A longer one would fill the log.
fn shortened(method: &str) -> &str {
    let end = method.char_indices().nth(METHOD_CHARS_MAX);
    end.map_or(method, |(end, _)| &method[..end])
}

static NEXT: AtomicU64 = AtomicU64::new(1);
const METHOD_CHARS_MAX: usize = 64;
