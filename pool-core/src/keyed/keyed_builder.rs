//! The settings of a keyed pool, with their defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;

use crate::budget::Budget;
use crate::config::Builder;
use crate::store::Exclusive;

/// Settings of a [`KeyedPool`](crate::KeyedPool) or a [`KeyedSharedPool`](crate::KeyedSharedPool), made
/// by their `builder`.
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBuilder<K, T: Send + 'static, L = Exclusive> {
    pub(super) settings: SettingsOf<K, T, L>,
    pub(super) name: Arc<str>,
    pub(super) key_name: NameOf<K>,
    pub(super) label: Option<NameOf<K>>,
    pub(super) max_keys: usize,
    pub(super) key_idle_timeout: Option<Duration>,
    pub(super) budget: Option<Budget>,
    pub(super) runtime: Option<Runtime>,
}

pub(super) type SettingsOf<K, T, L> = Arc<dyn Fn(&K) -> Builder<T, L> + Send + Sync>;
pub(super) type NameOf<K> = Arc<dyn Fn(&K) -> Arc<str> + Send + Sync>;

impl<K: fmt::Debug, T: Send + 'static, L> KeyedBuilder<K, T, L> {
    pub(super) fn new(settings: SettingsOf<K, T, L>) -> Self {
        Self {
            settings,
            name: Arc::from("pool"),
            key_name: Arc::new(|key| Arc::from(format!("{key:?}").trim_matches('"'))),
            label: None,
            max_keys: 1024,
            key_idle_timeout: Some(Duration::from_secs(5 * 60)),
            budget: None,
            runtime: None,
        }
    }
}

impl<K, T: Send + 'static, L> KeyedBuilder<K, T, L> {
    /// The name of the keyed pool in its errors, and the `pool` label of the metrics of all keys. Default
    /// `pool`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The name of a key in errors, events and logs. Default: its `Debug` form.
    pub fn key_name<S: Into<Arc<str>>>(
        mut self,
        name: impl Fn(&K) -> S + Send + Sync + 'static,
    ) -> Self {
        self.key_name = Arc::new(move |key| name(key).into());
        self
    }

    /// The `pool` label of the metrics of a key. Default: the same for all keys, so that metrics do not
    /// grow with them.
    ///
    /// The function must have few results, for example the name of the server that a key belongs to. Each
    /// one takes memory here and in the metrics recorder for good.
    pub fn metrics_label<S: Into<Arc<str>>>(
        mut self,
        label: impl Fn(&K) -> S + Send + Sync + 'static,
    ) -> Self {
        self.label = Some(Arc::new(move |key| label(key).into()));
        self
    }

    /// How many keys may have a pool.
    ///
    /// Default 1024: more than a proxy uses at the same time, in some MiB. A further key takes the place
    /// of one that has neither lease nor waiter nor handle, the one that was not used for longest,
    /// roughly; if there is none, it is refused with
    /// [`TooManyKeys`](crate::KeyedAcquireError::TooManyKeys). So is one that comes while as many
    /// dropped keys have connections that are not closed yet. Worst case: this many pools and as many
    /// that are closing, some KiB and a task each, and as many records of failed connects.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// How long a key keeps its pool without lease, waiter and handle. Accurate to a quarter of it. A caller
    /// that is refused, or leaves before it has a lease, has used it as well.
    ///
    /// Default 5 min: a pause between two uses keeps the connections warm, and a key that is not used any
    /// more costs nothing. `None` keeps it until another key needs its place.
    ///
    /// The failures of a key whose connects fail are remembered beyond that.
    pub fn key_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.key_idle_timeout = timeout.into();
        self
    }

    /// A limit that the pools of all keys share, and maybe other pools. Default none: each key has up to
    /// its own `max_size`.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// The runtime that runs the tasks of all pools. Default: the one `build` is called in.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }
}

impl<K, T: Send + 'static, L> fmt::Debug for KeyedBuilder<K, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("name", &self.name)
            .field("max_keys", &self.max_keys)
            .field("key_idle_timeout", &self.key_idle_timeout)
            .finish_non_exhaustive()
    }
}
