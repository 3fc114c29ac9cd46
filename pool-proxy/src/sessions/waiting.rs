//! Requests of a session that wait until its child has started, so that a cancel finds them.
//!
//! Once a child has a request, its exchange knows the id.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

/// The requests that wait, by their ids.
#[derive(Debug, Default)]
pub(crate) struct WaitingRequests(Mutex<HashMap<String, CancellationToken>>);

/// A request that waits. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct WaitingRequest {
    all: Arc<WaitingRequests>,
    id: String,
    cancelled: CancellationToken,
}

impl WaitingRequests {
    /// A request begins to wait; `None` if one with this id waits already.
    pub(crate) fn enter(self: &Arc<Self>, id: &[u8]) -> Option<WaitingRequest> {
        let id = readable(id)?;
        let cancelled = CancellationToken::new();
        match self.lock().entry(id.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert(cancelled.clone()),
        };
        Some(WaitingRequest {
            all: Arc::clone(self),
            id,
            cancelled,
        })
    }

    /// Cancels the request that the params of a cancel name. Returns whether it waits.
    pub(crate) fn cancel(&self, params: &[u8]) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'p> {
            #[serde(borrow)]
            request_id: &'p RawValue,
        }
        let named = serde_json::from_slice::<Params<'_>>(params).ok();
        let named = named.and_then(|params| readable(params.request_id.get().as_bytes()));
        let waiting = named.and_then(|id| self.lock().get(&id).cloned());
        waiting.inspect(CancellationToken::cancel).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingRequest {
    /// Resolves when its client has cancelled it.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        let ended = self.all.lock().remove(&self.id);
        drop(ended);
    }
}

/// The same text for all ways to write a string. A number is as it was written, and is no string.
fn readable(id: &[u8]) -> Option<String> {
    let id = id.trim_ascii();
    match id.first() {
        Some(b'"') => {
            let text = serde_json::from_slice::<Cow<'_, str>>(id).ok()?;
            Some(format!("\"{text}"))
        }
        _ => Some(String::from_utf8_lossy(id).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_cancel_finds_the_request_that_it_names_as_long_as_it_waits() {
        let all = Arc::new(WaitingRequests::default());
        let (number, text) = (all.enter(b"7").unwrap(), all.enter(b"\"7\"").unwrap());
        assert!(all.enter(b" 7").is_none(), "an id is there once");
        assert!(!all.cancel(br#"{"requestId":8}"#) && !all.cancel(b"") && !all.cancel(b"{}"));
        assert!(all.cancel(br#"{"requestId":"\u0037","reason":"x"}"#));
        assert!(text.cancelled().now_or_never().is_some());
        assert!(number.cancelled().now_or_never().is_none());
        drop((number, text));
        assert!(!all.cancel(br#"{"requestId":7}"#));
        assert!(all.lock().is_empty());
    }
}
