//! Which lists of a key are kept, so that its clients see them while no child lives.
//!
//! A list is kept under its method and its cursor, as a child wrote it: one of a legacy child for the server's
//! `lists_ttl`, one of a modern child for its own `ttlMs`. A list that was asked for by a client of revision
//! 2026-07-28 may depend on the capabilities of that client, so it is kept for clients with the same ones. A list is
//! dropped when a child tells that it has changed, and when another kind of child has come. What was asked for before
//! such a change is not kept after it.
//!
//! # Invariants
//!
//! * A cache belongs to one key: what one principal's children said reaches another principal only where the
//!   server is declared `stateless`, and not even there if the child calls a list private.
//! * The lists count as `bytes_max` at most, and so does what is known of tools. So a client that invents
//!   cursors costs no more than this, and lists that do not fit are asked for again.

mod list_key;
mod listed_tools;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::list_key::ListKey;
use self::listed_tools::ListedTools;
use super::tool_facts::ToolFacts;
use crate::config::{ServerSettings, Sharing};
use crate::wire::tool_name;

/// The lists of one key, and what they say of tools.
#[derive(Debug)]
pub(crate) struct ListCache {
    kept: Mutex<KeptLists>,
    ttl: Duration,
    bytes_max: usize,
    /// Whether the operator trusts what the server says of its tools.
    trusts_annotations: bool,
    /// Whether all clients are of one principal.
    is_private: bool,
}

#[derive(Debug, Default)]
struct KeptLists {
    lists: HashMap<ListKey, List>,
    bytes: usize,
    /// Counts the changes of lists.
    changes: u64,
    tools: ListedTools,
    /// Stands for what the latest child said of itself.
    child: Option<u64>,
}

#[derive(Debug)]
struct List {
    result: Arc<RawValue>,
    until: Instant,
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
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            kept: Mutex::default(),
            ttl: settings.lists_ttl,
            bytes_max: settings.lists_bytes_max,
            trusts_annotations: settings.trust_annotations,
            is_private: settings.sharing != Sharing::Stateless,
        }
    }

    /// What there is of the list that a request is for.
    pub(crate) fn find(&self, method: &str, params: &[u8]) -> Listed {
        let Some(key) = ListKey::of(method, params) else {
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
            kept.tools.note(&request.key, &result, self.bytes_max);
        }
        let now = Instant::now();
        kept.remove_if(|key, list| *key == request.key || list.until <= now);
        let bytes = bytes_of(&request.key, &result);
        let ttl = self.ttl_of(&result);
        if ttl.is_zero() || kept.bytes + bytes > self.bytes_max {
            return;
        }
        kept.bytes += bytes;
        let until = now + ttl;
        kept.lists.insert(
            request.key.clone(),
            List {
                result: result.into(),
                until,
            },
        );
    }

    /// How long a list may be kept.
    fn ttl_of(&self, result: &RawValue) -> Duration {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Hints {
            /// Of modern children, in every result.
            result_type: Option<IgnoredAny>,
            ttl_ms: Option<i64>,
            cache_scope: Option<String>,
        }
        match serde_json::from_str::<Hints>(result.get()) {
            Ok(hints) if hints.result_type.is_some() && !self.ttl.is_zero() => {
                let is_public = hints.cache_scope.as_deref() == Some("public");
                let ttl_ms = hints.ttl_ms.filter(|_| is_public || self.is_private);
                let ttl = Duration::from_millis(ttl_ms.unwrap_or(0).try_into().unwrap_or(0));
                ttl.min(TTL_MAX)
            }
            Ok(_) | Err(_) => self.ttl,
        }
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
            kept.tools.forget();
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
        kept.tools.get(&name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, KeptLists> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptLists {
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

    /// Forgets all lists.
    fn clear(&mut self) {
        self.changes += 1;
        self.lists.clear();
        self.bytes = 0;
        self.tools.forget();
    }
}

fn fingerprint(initialized: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    initialized.get().hash(&mut hasher);
    hasher.finish()
}

/// What a list counts as, with what it takes beside its text.
fn bytes_of(key: &ListKey, result: &RawValue) -> usize {
    key.bytes() + result.get().len()
}

/// A list that a child calls valid for longer is asked for again after this.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn cache(bytes_max: usize) -> ListCache {
        of_settings(|settings| settings.lists_bytes_max = bytes_max)
    }

    fn of_settings(change: impl Fn(&mut ServerSettings)) -> ListCache {
        let mut settings = ServerSettings::of_command(Vec::new());
        settings.sharing = Sharing::Shared;
        settings.lists_ttl = TTL;
        settings.trust_annotations = true;
        change(&mut settings);
        ListCache::new(&settings)
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

    #[tokio::test(start_paused = true)]
    async fn a_modern_child_says_how_long_and_for_whom_its_list_is_kept() {
        let list = |ttl: &str, scope: &str| {
            format!(
                r#"{{"result":{{"resultType":"complete","ttlMs":{ttl},"cacheScope":"{scope}"}}}}"#
            )
        };
        let is_kept = |cache: &ListCache, ttl: &str, scope: &str| {
            cache.missed();
            let list = list(ttl, scope);
            cache.keep(&ask(cache, "tools/list", ""), list.as_bytes());
            kept(cache, "tools/list", "").is_some()
        };
        let shared = cache(1 << 20);
        assert!(is_kept(&shared, "1000", "private") && is_kept(&shared, "1000", "public"));
        for none in ["0", "-5", "null"] {
            assert!(!is_kept(&shared, none, "public"), "{none}");
        }
        assert!(is_kept(&shared, "1000", "public"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(kept(&shared, "tools/list", ""), None);
        let stateless = of_settings(|settings| settings.sharing = Sharing::Stateless);
        assert!(is_kept(&stateless, "1000", "public"));
        assert!(
            !is_kept(&stateless, "1000", "private"),
            "its clients are of any principal"
        );
        let off = of_settings(|settings| settings.lists_ttl = Duration::ZERO);
        assert!(!is_kept(&off, "1000", "public"));
    }

    #[test]
    fn a_list_for_a_client_with_some_capabilities_is_not_shown_to_one_with_others() {
        let cache = cache(1 << 20);
        let of = |capabilities: &str| {
            format!(
                r#"{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}"#
            )
        };
        let params = of(r#"{"sampling":{},"roots":{}}"#);
        let named = |tool: &str| format!(r#"{{"result":{{"tools":[{{"name":"{tool}"}}]}}}}"#);
        cache.keep(&ask(&cache, "tools/list", &params), named("ask").as_bytes());
        assert!(kept(&cache, "tools/list", &of(r#"{"roots":{}, "sampling":{}}"#)).is_some());
        for other in [of("{}"), "{}".to_owned()] {
            assert!(kept(&cache, "tools/list", &other).is_none());
            cache.keep(
                &ask(&cache, "tools/list", &other),
                named("other").as_bytes(),
            );
        }
        assert!(
            cache.tool(br#"{"name":"ask"}"#).is_some(),
            "its list was not replaced"
        );
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
        let wary = of_settings(|settings| settings.trust_annotations = false);
        wary.keep(&ask(&wary, "tools/list", ""), list);
        assert!(!wary.may_repeat(br#"{"name":"read"}"#));
    }
}
