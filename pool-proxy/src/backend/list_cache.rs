//! Which lists of a key are kept, so that its clients see them while no child lives.
//!
//! A list is kept under its method and its cursor, as a child wrote it, for the server's `lists_ttl`. It is
//! dropped when a child tells that it has changed, and when another kind of child has come. What was asked for before
//! such a change is not kept after it.
//!
//! # Invariants
//!
//! * A cache belongs to one key: what one principal's children said reaches another principal only where the
//!   server is declared `stateless`.
//! * The lists count as `bytes_max` at most, and so does what is known of tools. So a client that invents
//!   cursors costs no more than this, and lists that do not fit are asked for again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::tool_facts::{ToolFacts, tools_in};
use crate::wire::tool_name;

/// The lists of one key, and what they say of tools.
#[derive(Debug)]
pub(crate) struct ListCache {
    kept: Mutex<Kept>,
    ttl: Duration,
    bytes_max: usize,
    /// Whether the operator trusts what the server says of its tools.
    trusts_annotations: bool,
}

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<ListKey, List>,
    bytes: usize,
    /// Counts the changes of lists.
    changes: u64,
    /// As the latest lists said.
    tools: HashMap<String, ListedTool>,
    tools_bytes: usize,
    /// Stands for what the latest child said of itself.
    child: Option<u64>,
}

/// A tool, and which page listed it.
#[derive(Debug)]
struct ListedTool {
    cursor: Option<Arc<str>>,
    facts: ToolFacts,
}

#[derive(Debug)]
struct List {
    result: Arc<RawValue>,
    until: Instant,
}

/// Which list, or which page of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ListKey {
    method: String,
    cursor: Option<String>,
}

/// A request for a list, and when it was made.
#[derive(Debug)]
pub(crate) struct ListRequest {
    key: ListKey,
    changes: u64,
}

/// What there is to answer a request for a list with.
#[derive(Debug)]
pub(crate) enum Listed {
    /// The result of a child, and for how long it is kept.
    Kept(Arc<RawValue>, Duration),
    /// A child has to be asked.
    Missing(ListRequest),
    /// The request is for no list, or for one that is not kept.
    Not,
}

impl ListCache {
    pub(super) fn new(ttl: Duration, bytes_max: usize, trusts_annotations: bool) -> Self {
        Self {
            kept: Mutex::default(),
            ttl,
            bytes_max,
            trusts_annotations,
        }
    }

    /// What there is of the list that a request is for.
    pub(crate) fn find(&self, method: &str, params: &[u8]) -> Listed {
        let Some(key) = self.key(method, params) else {
            return Listed::Not;
        };
        let now = Instant::now();
        let kept = self.lock();
        match kept.lists.get(&key) {
            Some(list) if list.until > now => {
                Listed::Kept(Arc::clone(&list.result), list.until - now)
            }
            _ => Listed::Missing(ListRequest {
                key,
                changes: kept.changes,
            }),
        }
    }

    /// Keeps the list in the reply of a child.
    pub(crate) fn keep(&self, request: &ListRequest, reply: &[u8]) {
        #[derive(Deserialize)]
        struct Reply {
            result: Option<Box<RawValue>>,
        }
        let reply = serde_json::from_slice::<Reply>(reply);
        let Ok(Some(result)) = reply.map(|reply| reply.result) else {
            return;
        };
        let mut kept = self.lock();
        if kept.changes != request.changes {
            return;
        }
        if request.key.method == "tools/list" {
            kept.note_tools(request.key.cursor.as_deref(), &result, self.bytes_max);
        }
        let now = Instant::now();
        kept.remove_if(|key, list| *key == request.key || list.until <= now);
        let bytes = bytes_of(&request.key, &result);
        if self.ttl.is_zero() || kept.bytes + bytes > self.bytes_max {
            return;
        }
        kept.bytes += bytes;
        let until = now + self.ttl;
        kept.lists.insert(
            request.key.clone(),
            List {
                result: result.into(),
                until,
            },
        );
    }

    /// A child says that a list has changed, by this notification.
    pub(super) fn changed(&self, method: &str) {
        let kind = method
            .strip_prefix("notifications/")
            .and_then(|rest| rest.strip_suffix("list_changed"));
        let mut kept = self.lock();
        kept.changes += 1;
        // Such as `tools/`. An unknown one may mean any list.
        kept.remove_if(|key, _| kind.is_none_or(|kind| key.method.starts_with(kind)));
        if kind.is_none_or(|kind| kind == "tools/") {
            kept.forget_tools();
        }
    }

    /// Notifications of a child were lost. Each may have told of a change.
    pub(super) fn missed(&self) {
        self.lock().clear();
    }

    /// A child has started, and says this of itself. If an earlier one said something else, its lists may differ.
    pub(super) fn started(&self, initialized: &RawValue) {
        let child = fingerprint(initialized);
        let mut kept = self.lock();
        if kept.child.replace(child).is_some_and(|last| last != child) {
            kept.clear();
        }
    }

    /// A child has ended. If the latest one says something else of itself, lists of the ended one may have been
    /// kept after the latest one came.
    pub(super) fn ended(&self, initialized: &RawValue) {
        let mut kept = self.lock();
        if kept.child != Some(fingerprint(initialized)) {
            kept.clear();
        }
    }

    /// Whether a `tools/call` with these params does no harm if it is executed twice.
    pub(super) fn may_repeat(&self, params: &[u8]) -> bool {
        self.trusts_annotations && self.tool(params).is_some_and(|tool| tool.is_repeatable)
    }

    /// What the latest list said of the tool that a `tools/call` calls.
    pub(crate) fn tool(&self, params: &[u8]) -> Option<ToolFacts> {
        let name = tool_name(params)?;
        let kept = self.lock();
        kept.tools.get(&name).map(|tool| tool.facts.clone())
    }

    fn key(&self, method: &str, params: &[u8]) -> Option<ListKey> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Params {
            cursor: Option<String>,
            #[serde(default, rename = "_meta")]
            _meta: serde::de::IgnoredAny,
        }
        let is_list = matches!(
            method,
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list"
        );
        if !is_list {
            return None;
        }
        let params = match params.is_empty() {
            true => Params::default(),
            false => serde_json::from_slice(params).ok()?,
        };
        Some(ListKey {
            method: method.to_owned(),
            cursor: params.cursor,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove_if(&mut self, is_gone: impl Fn(&ListKey, &List) -> bool) {
        let bytes = &mut self.bytes;
        self.lists.retain(|key, list| {
            let is_gone = is_gone(key, list);
            if is_gone {
                *bytes -= bytes_of(key, &list.result);
            }
            !is_gone
        });
    }

    /// Takes what a page says of its tools, instead of what it said before.
    fn note_tools(&mut self, cursor: Option<&str>, result: &RawValue, bytes_max: usize) {
        self.forget_tools_if(|tool| tool.cursor.as_deref() == cursor);
        let cursor: Option<Arc<str>> = cursor.map(Arc::from);
        for (name, facts) in tools_in(result) {
            if let Some(other) = self.tools.remove(&name) {
                self.tools_bytes -= other.bytes(&name);
            }
            let cursor = cursor.clone();
            let tool = ListedTool { cursor, facts };
            let bytes = tool.bytes(&name);
            if self.tools_bytes + bytes <= bytes_max {
                self.tools_bytes += bytes;
                self.tools.insert(name, tool);
            }
        }
    }

    fn forget_tools_if(&mut self, is_gone: impl Fn(&ListedTool) -> bool) {
        let bytes = &mut self.tools_bytes;
        self.tools.retain(|name, tool| {
            let is_gone = is_gone(tool);
            if is_gone {
                *bytes -= tool.bytes(name);
            }
            !is_gone
        });
    }

    fn forget_tools(&mut self) {
        self.tools.clear();
        self.tools_bytes = 0;
    }

    /// Forgets all lists.
    fn clear(&mut self) {
        self.changes += 1;
        self.lists.clear();
        self.bytes = 0;
        self.forget_tools();
    }
}

impl ListedTool {
    /// What it counts as. Its cursor counts for each tool of the page.
    fn bytes(&self, name: &str) -> usize {
        let cursor = self.cursor.as_ref().map_or(0, |cursor| cursor.len());
        name.len() + cursor + self.facts.bytes() + OVERHEAD
    }
}

fn fingerprint(initialized: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    initialized.get().hash(&mut hasher);
    hasher.finish()
}

/// What a list counts as, with what it takes beside its text.
fn bytes_of(key: &ListKey, result: &RawValue) -> usize {
    key.method.len() + key.cursor.as_ref().map_or(0, String::len) + result.get().len() + OVERHEAD
}

/// Of one entry, about.
const OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn cache(bytes_max: usize) -> ListCache {
        ListCache::new(TTL, bytes_max, true)
    }

    fn ask(cache: &ListCache, method: &str, params: &str) -> ListRequest {
        match cache.find(method, params.as_bytes()) {
            Listed::Missing(request) => request,
            found @ (Listed::Kept(..) | Listed::Not) => panic!("{found:?}"),
        }
    }

    fn kept(cache: &ListCache, method: &str, params: &str) -> Option<String> {
        match cache.find(method, params.as_bytes()) {
            Listed::Kept(result, _) => Some(result.get().to_owned()),
            Listed::Missing(_) | Listed::Not => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_page_is_kept_for_its_time_and_nothing_but_lists() {
        let cache = cache(1 << 20);
        cache.keep(
            &ask(&cache, "tools/list", ""),
            br#"{"id":1,"result":{"tools":[]}}"#,
        );
        let page = r#"{"cursor":"2","_meta":{"x":1}}"#;
        cache.keep(
            &ask(&cache, "tools/list", page),
            br#"{"id":1,"result":{"n":2}}"#,
        );
        assert_eq!(kept(&cache, "tools/list", "{}").unwrap(), r#"{"tools":[]}"#);
        assert_eq!(
            kept(&cache, "tools/list", r#"{"cursor":"2"}"#).unwrap(),
            r#"{"n":2}"#
        );
        assert!(matches!(
            cache.find("tools/list", br#"{"filter":1}"#),
            Listed::Not
        ));
        assert!(matches!(cache.find("resources/read", b""), Listed::Not));
        tokio::time::advance(TTL).await;
        assert_eq!(kept(&cache, "tools/list", ""), None);
        let refused = ask(&cache, "prompts/list", "");
        cache.keep(&refused, br#"{"id":1,"error":{"code":1,"message":"no"}}"#);
        assert_eq!(kept(&cache, "prompts/list", ""), None);
    }

    #[test]
    fn a_change_drops_the_lists_that_it_names_and_those_that_were_asked_for_before_it() {
        let cache = cache(1 << 20);
        for method in ["tools/list", "resources/list", "resources/templates/list"] {
            cache.keep(&ask(&cache, method, ""), br#"{"result":{}}"#);
        }
        let early = ask(&cache, "prompts/list", "");
        cache.changed("notifications/resources/list_changed");
        assert!(kept(&cache, "tools/list", "").is_some());
        assert!(kept(&cache, "resources/list", "").is_none());
        assert!(kept(&cache, "resources/templates/list", "").is_none());
        cache.keep(&early, br#"{"result":{}}"#);
        assert!(kept(&cache, "prompts/list", "").is_none());
        cache.missed();
        assert!(kept(&cache, "tools/list", "").is_none());
        assert_eq!(cache.lock().bytes, 0);
    }

    #[test]
    fn no_list_of_another_kind_of_child_is_kept() {
        let cache = cache(1 << 20);
        let child = |name: &str| RawValue::from_string(format!(r#"{{"serverInfo":"{name}"}}"#));
        let (old, new) = (child("old").unwrap(), child("new").unwrap());
        let list = || cache.keep(&ask(&cache, "tools/list", ""), br#"{"result":{}}"#);
        let is_kept = || kept(&cache, "tools/list", "").is_some();
        cache.started(&old);
        list();
        cache.started(&old);
        cache.ended(&old);
        assert!(is_kept(), "the same kind");
        let early = ask(&cache, "prompts/list", "");
        cache.started(&new);
        assert!(!is_kept());
        cache.keep(&early, br#"{"result":{}}"#);
        assert!(kept(&cache, "prompts/list", "").is_none());
        // The old one may have answered this.
        list();
        cache.ended(&old);
        assert!(!is_kept());
        list();
        cache.ended(&new);
        assert!(is_kept());
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let cache = cache(600);
        let long = format!(r#"{{"result":"{}"}}"#, "x".repeat(300));
        cache.keep(&ask(&cache, "tools/list", ""), long.as_bytes());
        cache.keep(&ask(&cache, "prompts/list", ""), long.as_bytes());
        assert!(kept(&cache, "tools/list", "").is_some());
        assert!(kept(&cache, "prompts/list", "").is_none());
        assert!(cache.lock().bytes <= 600);
    }

    #[test]
    fn what_is_known_of_tools_is_bounded_and_counted_once() {
        let cache = cache(1000);
        let page = |name: &str| {
            let padding = "x".repeat(80);
            let tools = format!(r#"[{{"name":"{name}{padding}"}},{{"name":"same"}}]"#);
            format!(r#"{{"result":{{"tools":{tools}}}}}"#)
        };
        for round in 0..50 {
            let params = format!(r#"{{"cursor":"{}"}}"#, round % 10);
            let request = match cache.find("tools/list", params.as_bytes()) {
                Listed::Missing(request) => request,
                Listed::Kept(..) | Listed::Not => continue,
            };
            cache.keep(&request, page(&round.to_string()).as_bytes());
            let kept = cache.lock();
            let counted: usize = kept.tools.iter().map(|(name, tool)| tool.bytes(name)).sum();
            assert_eq!(kept.tools_bytes, counted);
            assert!((1..=1000).contains(&counted), "{counted}");
        }
        cache.changed("notifications/tools/list_changed");
        assert_eq!(cache.lock().tools_bytes, 0);
    }

    #[test]
    fn a_tool_is_repeatable_as_long_as_its_list_says_so() {
        let cache = cache(1 << 20);
        let list = br#"{"result":{"tools":[
            {"name":"read","annotations":{"readOnlyHint":true}},
            {"name":"set","annotations":{"idempotentHint":true,"destructiveHint":true}},
            {"name":"pay","annotations":{"readOnlyHint":false}},{"name":"bare"}]}}"#;
        cache.keep(&ask(&cache, "tools/list", ""), list);
        let may = |name: &str| cache.may_repeat(format!(r#"{{"name":"{name}"}}"#).as_bytes());
        assert!(may("read") && may("set") && !may("pay") && !may("bare") && !may("other"));
        // Another page may say otherwise of a tool, and this page may list other tools later.
        let page = ask(&cache, "tools/list", r#"{"cursor":"2"}"#);
        cache.keep(&page, br#"{"result":{"tools":[{"name":"set"},{"name":"get","annotations":{"readOnlyHint":true}}]}}"#);
        assert!(may("read") && !may("set") && may("get"));
        cache.keep(&page, br#"{"result":{"tools":[]}}"#);
        assert!(may("read") && !may("get"));
        cache.changed("notifications/tools/list_changed");
        assert!(!may("read"));
        let wary = ListCache::new(TTL, 1 << 20, false);
        wary.keep(&ask(&wary, "tools/list", ""), list);
        assert!(!wary.may_repeat(br#"{"name":"read"}"#));
    }
}
