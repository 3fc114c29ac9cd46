//! The metrics of a server's requests, looked up once: a look-up by name for each request costs more than the count.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, SharedString};

/// The metrics of a server's requests.
pub(crate) struct RequestMeters {
    pub(crate) server: Arc<str>,
    seconds: Histogram,
    /// By outcome. There are some twenty, and most requests have the first.
    outcomes: Mutex<Vec<(&'static str, Counter)>>,
}

impl RequestMeters {
    /// The recorder must be there.
    pub(crate) fn new(server: &Arc<str>) -> Self {
        let name = SharedString::from_shared(Arc::clone(server));
        Self {
            server: Arc::clone(server),
            seconds: metrics::histogram!("proxy_request_seconds", "server" => name),
            outcomes: Mutex::default(),
        }
    }

    /// How long a request took.
    pub(crate) fn record(&self, took: Duration) {
        self.seconds.record(took);
    }

    /// Counts a request that is over.
    pub(crate) fn count(&self, outcome: &'static str) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        match outcomes.iter().find(|(known, _)| *known == outcome) {
            Some((_, counter)) => counter.increment(1),
            None => {
                let server = SharedString::from_shared(Arc::clone(&self.server));
                let labels = [("server", server), ("outcome", outcome.into())];
                let counter = metrics::counter!("proxy_requests_total", &labels);
                counter.increment(1);
                outcomes.push((outcome, counter));
            }
        }
    }
}

impl fmt::Debug for RequestMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMeters")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
