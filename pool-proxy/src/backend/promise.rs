//! What the clients of a key were told of its children, so that none has to live for it.
//!
//! # Invariant
//!
//! A client that initialized is served by children of the version and the capabilities that it was
//! promised: a child that differs begins another generation, and the sessions of the earlier one end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::child_era::Era;
use super::news::{ListNews, News};
use crate::config::Sharing;

/// What a key promises.
#[derive(Debug)]
pub(crate) struct Promise {
    hello: Mutex<Option<Arc<Hello>>>,
    generation: AtomicU64,
    news: ListNews,
    sharing: Sharing,
}

/// What shared children say of themselves: their result of `initialize`, or of `server/discover`.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) result: Box<RawValue>,
    pub(crate) era: Era,
    /// Counts the changes of version or capabilities.
    pub(crate) generation: u64,
    /// What must not change.
    promised: (Value, Value),
}

impl Promise {
    pub(crate) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            hello: Mutex::default(),
            generation: AtomicU64::new(0),
            news: ListNews::new(),
        }
    }

    /// What was promised, if a child has been asked before.
    pub(crate) fn hello(&self) -> Option<Arc<Hello>> {
        self.lock().clone()
    }

    /// Whether a child that has promised lives for longer than a request.
    pub(super) fn lasts(&self) -> bool {
        self.sharing != Sharing::Request
    }

    /// The generation of the latest children.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes what a child says of itself. Returns the generation of the child, and whether it is what was promised.
    pub(super) fn keep(&self, result: &RawValue) -> Result<(u64, bool), serde_json::Error> {
        let mut members: Map<String, Value> = serde_json::from_str(result.get())?;
        let version = ["protocolVersion", "supportedVersions"].map(|name| members.get(name));
        let version = version
            .into_iter()
            .flatten()
            .next()
            .cloned()
            .unwrap_or_default();
        let capabilities = members.get_mut("capabilities");
        let offered = capabilities.map_or(Value::Null, |capabilities| {
            leave_out_what_cannot_be_had(capabilities, self.sharing);
            capabilities.clone()
        });
        let promised = (version, offered);
        let mut hello = self.lock();
        if let Some(hello) = hello.as_ref().filter(|hello| hello.promised == promised) {
            return Ok((hello.generation, true));
        }
        let is_first = hello.is_none();
        let generation = match is_first {
            true => self.generation(),
            false => self.generation.fetch_add(1, Ordering::AcqRel) + 1,
        };
        *hello = Some(Arc::new(Hello {
            result: to_raw_value(&members)?,
            era: Era::of(result),
            generation,
            promised,
        }));
        Ok((generation, is_first))
    }

    /// Tells the open streams of all clients that a list has changed.
    pub(super) fn tell(&self, method: &str, message: Bytes) {
        self.news.tell(method, message);
    }

    /// Messages of a child were lost. Each list that it tells of may have changed.
    pub(super) fn missed(&self) {
        if let Some(hello) = self.hello() {
            let (_, capabilities) = &hello.promised;
            self.news
                .tell_all(|list| capabilities[list]["listChanged"] == true);
        }
    }

    /// Which lists change from now on.
    pub(crate) fn news(&self) -> News {
        self.news.listen()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Hello>>> {
        self.hello.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log level is one for the whole process, and its messages name no request. Tasks stay in the process that
/// began them. A subscription needs a process that lives on.
fn leave_out_what_cannot_be_had(capabilities: &mut Value, sharing: Sharing) {
    let Some(capabilities) = capabilities.as_object_mut() else {
        return;
    };
    capabilities.remove("logging");
    capabilities.remove("tasks");
    let extensions = capabilities.get_mut("extensions");
    if let Some(extensions) = extensions.and_then(Value::as_object_mut) {
        extensions.remove("io.modelcontextprotocol/tasks");
    }
    let resources = capabilities.get_mut("resources");
    if sharing == Sharing::Request
        && let Some(resources) = resources.and_then(Value::as_object_mut)
    {
        resources.remove("subscribe");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn another_version_or_capability_begins_a_generation_and_other_words_do_not() {
        let promise = Promise::new(Sharing::Shared);
        let of = |version: &str, capabilities: &str, name: &str| {
            raw(&format!(
                r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{{"name":"{name}"}}}}"#
            ))
        };
        let keep = |version: &str, capabilities: &str, name: &str| {
            promise.keep(&of(version, capabilities, name)).unwrap()
        };
        assert_eq!(keep("1", r#"{"tools":{},"logging":{}}"#, "a"), (0, true));
        assert_eq!(keep("1", r#"{"tools":{}}"#, "b"), (0, true));
        assert_eq!(promise.generation(), 0);
        assert_eq!(keep("1", r#"{"tools":{},"prompts":{}}"#, "a"), (1, false));
        assert_eq!(keep("2", r#"{"tools":{},"prompts":{}}"#, "a"), (2, false));
        assert_eq!(promise.generation(), 2);
        assert_eq!(promise.hello().unwrap().generation, 2);
    }

    #[test]
    fn when_messages_are_lost_each_list_that_children_tell_of_may_have_changed() {
        let promise = Promise::new(Sharing::Shared);
        let capabilities = r#"{"tools":{"listChanged":true},"prompts":{}}"#;
        let said = raw(&format!(r#"{{"capabilities":{capabilities}}}"#));
        promise.keep(&said).unwrap();
        let mut news = promise.news();
        promise.missed();
        let tools = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert_eq!(news.next().now_or_never(), Some(Some(tools.into())));
        assert_eq!(news.next().now_or_never(), None);
    }

    #[test]
    fn what_cannot_be_had_is_not_promised() {
        let capabilities = r#"{"logging":{},"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{}},"resources":{"subscribe":true,"listChanged":true}}"#;
        let promised = |sharing| {
            let promise = Promise::new(sharing);
            promise
                .keep(&raw(&format!(r#"{{"capabilities":{capabilities}}}"#)))
                .unwrap();
            let hello = promise.hello().unwrap();
            serde_json::from_str::<Value>(hello.result.get()).unwrap()
        };
        assert_eq!(
            promised(Sharing::Shared),
            json!({ "capabilities": {
                "extensions": { "x/y": {} },
                "resources": { "listChanged": true, "subscribe": true },
            } })
        );
        assert_eq!(
            promised(Sharing::Request),
            json!({ "capabilities": {
                "extensions": { "x/y": {} },
                "resources": { "listChanged": true },
            } })
        );
    }
}
