//! The settings of a pool, with their defaults.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;

use crate::budget::{Budget, MemberTerms, Membership};
use crate::config::validate;
use crate::connector::Connector;
use crate::engine::{Engine, Lends, Timeouts};
use crate::error::BuildError;
use crate::event::Observer;
use crate::handle::Handle;
use crate::inbox::Inbox;
use crate::pool::ConnectionPool;
use crate::shared_pool::SharedPool;
use crate::store::{
    Exclusive, FailureRecord, IdleOrder, Limits, Multiplexed, PacerLimits, Sharing, TargetLeases,
};
use crate::sync::Arc as SyncArc;
use crate::telemetry::{Meters, Telemetry};

/// Settings of a [`ConnectionPool`], made by [`ConnectionPool::builder`].
///
/// Every setting has a default that is meant for use. A duration of `None` switches the feature off.
/// [`build`](Self::build) checks the settings.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(())))
///     .name("workers")
///     .max_size(4)
///     .min_idle(1)
///     .acquire_timeout(Duration::from_secs(2))
///     .idle_timeout(None)
///     .build()
///     .expect("valid settings, inside a runtime");
/// assert_eq!(pool.status().max_size, 4);
///
/// let error = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(4).min_idle(5).build().unwrap_err();
/// assert_eq!(error.to_string(), "min_idle is 5, but max_size is 4: idle connections count against the limit");
/// # }
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<T: Send + 'static, L = Exclusive> {
    lending: PhantomData<fn() -> L>,
    connector: Arc<dyn Connector<Connection = T>>,
    runtime: Option<Runtime>,
    observer: Option<Arc<dyn Observer>>,
    limits: Limits,
    timeouts: Timeouts,
    budget: Option<Budget>,
    budget_share: u32,
    reserves_min_idle: bool,
}

/// Settings of a [`SharedPool`], made by [`SharedPool::builder`]: those of any pool, and how
/// connections are shared.
pub type SharedBuilder<T> = Builder<Arc<T>, Multiplexed>;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl<T: Send + 'static> Builder<T> {
    pub(crate) fn exclusive(connector: Arc<dyn Connector<Connection = T>>) -> Self {
        Self::new(connector, Sharing::NONE)
    }

    /// How long a reset may take before its connection is closed.
    ///
    /// Default 5 s: a peer that is well answers sooner. Worst case: a reset that hangs takes up a slot for
    /// this long.
    pub fn reset_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.reset = timeout;
        self
    }

    /// Which idle connection is lent next.
    ///
    /// Default [`IdleOrder::Lifo`]: the one that was used last. So the busy ones stay warm, and those that
    /// are not needed reach their idle timeout.
    pub const fn idle_order(mut self, order: IdleOrder) -> Self {
        self.limits.idle_order = order;
        self
    }

    /// How long a lease may last until it is reported, once, with the place where it was acquired.
    /// Accurate to a tenth of a second.
    ///
    /// Default `None`: never, since only the program knows how long its leases should last.
    pub fn lease_warn_after(mut self, held: impl Into<Option<Duration>>) -> Self {
        self.limits.lease_warn_after = held.into();
        self
    }

    /// Checks the settings and starts the pool. It opens `min_idle` connections in the background and
    /// no others. To start with some open, and to learn why that fails, use
    /// [`warm_up`](ConnectionPool::warm_up).
    ///
    /// # Errors
    ///
    /// [`BuildError::NoRuntime`] outside a Tokio runtime if none was given,
    /// [`BuildError::OutOfRange`] and [`BuildError::Contradiction`] for settings that cannot work.
    ///
    /// # Panics
    ///
    /// If the runtime has no timer, as everything that needs one does: build it with `enable_time` or
    /// `enable_all`.
    pub fn build(self) -> Result<ConnectionPool<T>, BuildError> {
        self.start().map(ConnectionPool::new)
    }
}

impl<T: Send + Sync + 'static> SharedBuilder<T> {
    pub(crate) fn multiplexed(connector: Arc<dyn Connector<Connection = Arc<T>>>) -> Self {
        let sharing = Sharing {
            target_leases: TargetLeases::default(),
            max_leases: 1024,
            max_surge: 1,
        };
        let mut builder = Self::new(connector, sharing);
        builder.limits.max_size = 4;
        builder
    }

    /// How many leases a connection should carry before another one is opened, as far as `max_size`
    /// allows: a number, or a range in which the pool finds it out.
    ///
    /// Default [`TargetLeases::Adaptive`] from 1 to 1024. A peer that handles many requests at once
    /// works best over few connections, since it can read and answer several requests at a time; one
    /// that handles one request after the other needs a connection for each. Set a number if you know
    /// it, or if no experiments are welcome.
    pub fn target_leases(mut self, target: impl Into<TargetLeases>) -> Self {
        self.limits.sharing.target_leases = target.into();
        self
    }

    /// The most leases of one connection at the same time. A caller waits when all connections have as
    /// many, or none is open; and, beside open ones, as long as others are being opened or checked for
    /// those that wait.
    ///
    /// Default 1024: enough for most peers, and a bound on what one connection carries. Worst case: when a
    /// connection breaks, the requests of this many callers fail.
    pub const fn max_leases_per_connection(mut self, leases: u32) -> Self {
        self.limits.sharing.max_leases = leases;
        self
    }

    /// How many connections there may be beyond `max_size` while evicted or expired ones go on serving
    /// until their replacement is open.
    ///
    /// Default 1: connections are replaced one after the other, and callers notice nothing. With 0, such a
    /// connection serves until the pool has room for its replacement. Worst case: `max_size` and this many
    /// resources are held at the same time.
    pub const fn max_surge(mut self, connections: usize) -> Self {
        self.limits.sharing.max_surge = connections;
        self
    }

    /// Checks the settings and starts the pool.
    ///
    /// # Errors
    ///
    /// As those of an [exclusive pool](Builder::build).
    ///
    /// # Panics
    ///
    /// If the runtime has no timer, as those of an exclusive pool.
    pub fn build(self) -> Result<SharedPool<T>, BuildError> {
        self.start().map(SharedPool::new)
    }
}

impl<T: Send + 'static, L> Builder<T, L> {
    fn new(connector: Arc<dyn Connector<Connection = T>>, sharing: Sharing) -> Self {
        let pacer = PacerLimits {
            delay: Duration::from_millis(100),
            delay_max: 10 * SECOND,
            fail_fast_after: 3,
        };
        let limits = Limits {
            name: Arc::from("pool"),
            is_key: false,
            max_size: 10,
            min_idle: 0,
            max_waiters: 65_536,
            max_connecting: 4,
            idle_order: IdleOrder::Lifo,
            idle_timeout: Some(10 * MINUTE),
            max_lifetime: Some(30 * MINUTE),
            max_uses: None,
            check_interval: Some(30 * SECOND),
            check_after_idle: None,
            min_uptime: SECOND,
            lease_warn_after: None,
            max_weight: None,
            kill_weight: None,
            weigh_interval: SECOND,
            pacer,
            seed: RandomState::new().hash_one(0),
            sharing,
        };
        let timeouts = Timeouts {
            acquire: 30 * SECOND,
            connect: 15 * SECOND,
            check: 5 * SECOND,
            reset: 5 * SECOND,
            close: 20 * SECOND,
        };
        Self {
            lending: PhantomData,
            connector,
            runtime: None,
            observer: None,
            limits,
            timeouts,
            budget: None,
            budget_share: 1,
            reserves_min_idle: false,
        }
    }

    /// The pool's name in errors, events and logs, and the `pool` label of its metrics. Default `pool`:
    /// a program with several pools gives each a name of its own, to tell them apart.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.limits.name = name.into();
        self
    }

    /// The largest number of connections at any time, including those being opened and closed.
    ///
    /// Default 10, as in most pools; 4 in a [`SharedPool`]. More connections than the peer can serve at
    /// once only move the queue from the pool to the peer. Worst case: this many resources are held at
    /// the same time.
    pub fn max_size(mut self, connections: usize) -> Self {
        self.limits.max_size = connections;
        self
    }

    /// How many idle connections are kept ready, as far as `max_size` allows.
    ///
    /// Default 0: connections are opened on demand. Missing ones are opened in the background. The idle
    /// timeout does not close them, their lifetime does. Worst case: this many unused resources.
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.limits.min_idle = connections;
        self
    }

    /// How many callers may wait; one more is refused with
    /// [`Overloaded`](crate::AcquireError::Overloaded), unless it waited before and was served a
    /// connection that proved dead.
    ///
    /// Callers that wait for a connect count. So with 0 only idle connections are lent, and the pool
    /// needs a `min_idle` or a warm-up. Default 65 536: more than a healthy program reaches, and a
    /// bound of some 6 MiB of memory. A proxy that would rather refuse than queue sets it near its
    /// concurrency.
    pub fn max_waiters(mut self, callers: usize) -> Self {
        self.limits.max_waiters = callers;
        self
    }

    /// How many connects may run at the same time.
    ///
    /// Default 4: connects can be expensive, for example when each starts a process. A connect that takes
    /// longer than a second, and than twice what is usual, is *late* and no longer counts, so one that
    /// hangs does not stop the others. Each late connect doubles that time for the next; with the default
    /// `connect_timeout` at most four are late at the same time, beside those that count. While connects
    /// fail, they are made one at a time. Worst case: a cold pool of n connections needs n / 4 connect
    /// times.
    pub fn max_connecting(mut self, connects: usize) -> Self {
        self.limits.max_connecting = connects;
        self
    }

    /// How long a caller may wait for a connection.
    ///
    /// Default 30 s: longer than a connect may take, so a caller can outlast one that fails. Worst case: a
    /// caller learns after this time that nothing can be had.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.acquire = timeout;
        self
    }

    /// How long a connect may take before it is dropped and counts as failed.
    ///
    /// Default 15 s: shorter than the acquire timeout, so that a caller learns why connects fail. Raise it
    /// for peers that are slow to start. Worst case: a connect that hangs takes up a slot for this long.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// How long an idle connection goes without use or check until [`Connector::check`] runs in the
    /// background: for each between half of this and all of it, at random, so that checks are spread. In
    /// a [`SharedPool`], every connection of which no lease was returned meanwhile is checked while it
    /// serves.
    ///
    /// Default 30 s: a check costs the peer a request, and this is two a minute. `None` never checks in
    /// the background.
    ///
    /// At least half of the connections that no caller holds stay idle. A lone one is not checked while
    /// it is idle, but before it is lent if this much time has passed, as with
    /// [`check_after_idle`](Self::check_after_idle). Worst case: a connection whose death only `check`
    /// finds is lent for this long.
    pub fn check_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.limits.check_interval = interval.into();
        self
    }

    /// How long a connection may have been idle, neither used nor checked, to be lent without a check.
    /// If all idle ones were so for longer, the caller that draws one waits for its check; other callers
    /// do not. If the check fails, the caller gets another connection and keeps its turn. If it takes
    /// longer than a second, another connection is opened beside it, as far as `max_size` allows.
    ///
    /// Default `None`: after `check_interval`. For peers that vanish without a word, such as those
    /// behind a firewall that forgets idle connections. Callers that do not wait, with
    /// [`try_acquire`](ConnectionPool::try_acquire) or a timeout of zero, are lent it unchecked. Accurate
    /// to a tenth of a second. Worst case: each caller after a quiet time waits for a check.
    pub fn check_after_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.limits.check_after_idle = idle.into();
        self
    }

    /// How long a check may take before its connection is closed.
    ///
    /// Default 5 s: a peer that is well answers sooner. Worst case: a check that hangs takes up a slot for
    /// this long.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.check = timeout;
        self
    }

    /// How long a close may take until its slot is reported as stuck. It is reported again each time
    /// the same time passes.
    ///
    /// Default 20 s, which leaves room for an orderly end before force. The close is not cut short: a
    /// slot stays taken until its resource is gone.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.close = timeout;
        self
    }

    /// How long a connection may be unused before it is closed, as far as `min_idle` allows. Accurate to a
    /// tenth of a second.
    ///
    /// Default 10 min: what a peak needed is given back soon after it, and short pauses close nothing.
    /// `None` keeps idle connections.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.idle_timeout = timeout.into();
        self
    }

    /// How long a connection may live.
    ///
    /// Default 30 min, which bounds what leaks inside a peer; `None` sets no limit. Each connection
    /// gets a lifetime that is shorter by a random part of up to a tenth, so that those opened together
    /// do not end together. A lease is never cut short: its connection is closed when it is returned.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.limits.max_lifetime = lifetime.into();
        self
    }

    /// How often a connection may be lent.
    ///
    /// Default `None`: without limit, since `max_lifetime` bounds what leaks inside a peer. From 10 on,
    /// each connection gets a number that is smaller by a random part of up to a tenth, so that those
    /// used in turn do not end together.
    pub fn max_uses(mut self, uses: impl Into<Option<u64>>) -> Self {
        self.limits.max_uses = uses.into();
        self
    }

    /// How much a connection may weigh until it is replaced: bytes of memory, if it is a child process.
    ///
    /// Default `None`: without limit, since only the program knows what its peers need. A connection
    /// that weighs more is not lent again: it is closed when it is returned, or, if it is shared,
    /// replaced as one that was evicted. Its weight is what [`Connector::vitals`] measures, once in each
    /// [`weigh_interval`](Self::weigh_interval). Worst case: it weighs more by what it gains in an
    /// interval and a lease.
    ///
    /// Connections that weigh more already in the first two or three weighings are kept in use: a replacement would
    /// weigh as much. They are replaced one at a time, each after twice the time, up to an hour, until a new one
    /// is lighter. A warning says so ([`HeavyWhenNew`](crate::EventKind::HeavyWhenNew)).
    pub fn max_weight(mut self, weight: impl Into<Option<u64>>) -> Self {
        self.limits.max_weight = weight.into();
        self
    }

    /// How much a connection may weigh until it is killed, also while it is lent; in the unit of
    /// [`max_weight`](Self::max_weight). Its callers see that in
    /// their errors, or ask [`PooledConnection::kill_cause`](crate::PooledConnection::kill_cause).
    ///
    /// Default `None`: without limit, since a kill fails the requests of its callers. Worst case: a
    /// connection weighs more by what it gains in a [`weigh_interval`](Self::weigh_interval). One that
    /// is killed younger than [`min_uptime`](Self::min_uptime) counts as a failure.
    pub fn kill_weight(mut self, weight: impl Into<Option<u64>>) -> Self {
        self.limits.kill_weight = weight.into();
        self
    }

    /// How often connections are weighed, if their weight is limited.
    ///
    /// Default 1 s: to weigh children takes one look at all processes, some 10 µs each. Worst case: the
    /// pool wakes up this often also while nobody uses it.
    pub const fn weigh_interval(mut self, interval: Duration) -> Self {
        self.limits.weigh_interval = interval;
        self
    }

    /// The span from which the delay after a failed connect is drawn: `first`, doubled for each
    /// failed round, up to `max`.
    ///
    /// Default 100 ms and 10 s. Connects that run side by side and fail are one round. A failure that
    /// costs little is retried sooner: the span is at most 50 times as long as the failed connect took, or
    /// half a second if that is longer. So a server that refuses connects while it restarts is found
    /// again within a second, and a program that takes long to fail is not started all the time. Worst
    /// case: the pool notices that a peer is back after `max`.
    pub fn retry_delay(mut self, first: Duration, max: Duration) -> Self {
        self.limits.pacer.delay = first;
        self.limits.pacer.delay_max = max;
        self
    }

    /// How long a connection must live until earlier failures are forgotten. One that is discarded,
    /// returned dirty or found dead sooner counts as a failure itself, unless it had been returned clean
    /// or was used up.
    ///
    /// Default 1 s. This bounds a crash loop: a peer that starts and breaks is started less and less
    /// often. Zero counts no such ends.
    pub fn min_uptime(mut self, uptime: Duration) -> Self {
        self.limits.min_uptime = uptime;
        self
    }

    /// After how many failed rounds callers are answered at once with
    /// [`Unavailable`](crate::AcquireError::Unavailable), if nothing is left that could serve them.
    ///
    /// Default 3: one failure can be chance, and three in a row are an outage. A permanent failure has this
    /// effect at once. Until then callers wait, and the latest
    /// failure is the source of their timeout.
    pub fn fail_fast_after(mut self, rounds: u32) -> Self {
        self.limits.pacer.fail_fast_after = rounds;
        self
    }

    /// A limit that this pool shares with others, beside its own `max_size`. Default none.
    ///
    /// Worst case: callers wait although this pool has room, until another pool of the budget gives up a
    /// connection.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// How much of its budget this pool gets when it is used up, in relation to the shares of the
    /// other pools that use it. Default 1: all get equally much.
    pub const fn budget_share(mut self, share: u32) -> Self {
        self.budget_share = share;
        self
    }

    /// Reserves `min_idle` connections of the budget for this pool: nobody else gets them, and as many
    /// stay idle, also beside others that are leased.
    ///
    /// Default: nothing is reserved, since what is reserved and not used is lost to the others. Then
    /// `min_idle` is kept only while the budget has connections left that no caller of another pool waits
    /// for.
    pub const fn reserve_min_idle(mut self) -> Self {
        self.reserves_min_idle = true;
        self
    }

    /// Receives every event. Default none: events become metrics and log lines only.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The runtime that runs the pool's tasks. Default: the one `build` is called in.
    ///
    /// It keeps all deadlines, including those of callers on other runtimes, so it must be running. A
    /// current-thread runtime only runs inside `block_on`.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Starts the pool of a key.
    pub(crate) fn start_key<M: Lends<T>>(
        mut self,
        key: KeyTerms,
    ) -> Result<Handle<T, M>, BuildError> {
        self.limits.name = key.name;
        self.limits.is_key = true;
        self.runtime = Some(key.runtime);
        self.budget = key.budget.or(self.budget);
        self.start_with(Some(key.meters), key.failures)
    }

    /// Checks the settings and starts a pool that lends as `M` does.
    fn start<M: Lends<T>>(self) -> Result<Handle<T, M>, BuildError> {
        self.start_with(None, None)
    }

    fn start_with<M: Lends<T>>(
        self,
        meters: Option<Arc<Meters>>,
        failures: Option<FailureRecord>,
    ) -> Result<Handle<T, M>, BuildError> {
        validate::settings(&self.limits, &self.timeouts, self.budget_share)?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Runtime::try_current().map_err(|_| BuildError::NoRuntime)?,
        };
        let Self {
            connector,
            observer,
            limits,
            timeouts,
            budget,
            budget_share,
            reserves_min_idle,
            ..
        } = self;
        let terms = budget.map(|budget| MemberTerms {
            budget,
            share: budget_share,
            reserves_min_idle,
        });
        let membership = match &terms {
            Some(terms) => Some(Membership::join(terms, &limits.name, limits.min_idle)?),
            None => None,
        };
        let is_key = limits.is_key;
        let mut telemetry = Telemetry::new(Arc::clone(&limits.name), meters, observer);
        if M::IS_SHARED && !is_key {
            telemetry = telemetry.with_target_leases();
        }
        let (inbox, receiver) = Inbox::new();
        let engine = SyncArc::new(Engine::new(
            connector, limits, timeouts, telemetry, inbox, membership,
        ));
        if let Some(failures) = failures {
            engine.lock().restore_failures(failures, &engine.clock);
        }
        Ok(Handle::start(&runtime, engine, receiver))
    }
}

/// What a keyed pool decides of the pool of a key.
pub(crate) struct KeyTerms {
    pub(crate) name: Arc<str>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) runtime: Runtime,
    /// If there is none, that of the settings.
    pub(crate) budget: Option<Budget>,
    /// What is known of earlier failures of the same peer.
    pub(crate) failures: Option<FailureRecord>,
}

impl<T: Send + 'static, L> fmt::Debug for Builder<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Builder");
        debug
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts);
        debug.finish_non_exhaustive()
    }
}
