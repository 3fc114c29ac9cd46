//! A connector, and what the kit must know to test it: how to make an exchange, how to kill the other
//! side, how to count what is open.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pool_core::{BoxError, BoxFuture, CheckError, Connector, SharedConnector};

use super::rule::Rule;

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Exchange<T> = dyn for<'a> Fn(&'a mut T, u64) -> Boxed<'a, Result<u64, BoxError>>;
type SharedExchange<T> = dyn for<'a> Fn(&'a T, u64) -> Boxed<'a, Result<u64, BoxError>>;
type SharedCheck<C> =
    for<'a> fn(&'a C, &'a <C as Connector>::Connection) -> BoxFuture<'a, Result<(), CheckError>>;
type Dirty<T> = dyn for<'a> Fn(&'a mut T) -> Boxed<'a, Result<(), BoxError>>;
type Kill<T> = dyn Fn(&T) -> Boxed<'static, ()>;

/// A connector with what it takes to test it.
///
/// All but the connector can be left out; the rules that need what is missing are then not applicable.
/// Closures run on the runtime of the test.
///
/// # Examples
///
/// ```
/// use pool_testkit::conformance::{self, Rule, RuleOutcome, Subject};
/// use pool_testkit::connector::{FakeConnection, pair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (connector, fake) = pair();
/// let subject = Subject::new(connector)
///     .kill(move |conn: &FakeConnection| {
///         assert!(fake.kill(conn.id()));
///         std::future::ready(())
///     })
///     .waive(Rule::DirtIsSeen, "the fake is as dirty as it is told to be");
/// assert_eq!(conformance::judge(Rule::DiedResolves, &subject).await, RuleOutcome::Kept);
/// # }
/// ```
pub struct Subject<C: Connector> {
    pub(super) connector: Arc<C>,
    pub(super) exchange: Option<Box<Exchange<C::Connection>>>,
    pub(super) shared: Option<SharedSide<C>>,
    pub(super) dirty: Option<Box<Dirty<C::Connection>>>,
    pub(super) kill: Option<Box<Kill<C::Connection>>>,
    pub(super) resources: Option<Box<dyn Fn() -> Vec<String>>>,
    pub(super) stalling: Option<Arc<C>>,
    pub(super) failing_permanently: Option<Arc<C>>,
    pub(super) failing_transiently: Option<Arc<C>>,
    pub(super) limit: Duration,
    pub(super) cycles: usize,
    pub(super) waived: BTreeMap<Rule, String>,
    /// The next connection id or number of an exchange. None is used twice.
    pub(super) next: AtomicU64,
}

/// The methods of a [`SharedConnector`], and an exchange that shares its connection.
pub(super) struct SharedSide<C: Connector> {
    pub(super) exchange: Box<SharedExchange<C::Connection>>,
    pub(super) check: SharedCheck<C>,
    pub(super) is_clean: fn(&C, &C::Connection) -> bool,
}

impl<C: SharedConnector> Subject<C> {
    /// The connections serve many callers at once, so the rules of a shared connector are tried as well.
    /// Says how to make one exchange on a connection that others use too: like
    /// [`exchange`](Self::exchange), it sends a number and returns the number that comes back.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_testkit::conformance::{self, Rule, RuleOutcome, Subject};
    /// use pool_testkit::connector::{FakeConnection, pair};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (connector, fake) = pair();
    /// let subject = Subject::new(connector)
    ///     .shared(async |_: &FakeConnection, number| Ok(number)) // a fake answers nothing by itself
    ///     .kill(move |conn: &FakeConnection| {
    ///         assert!(fake.kill(conn.id()));
    ///         std::future::ready(())
    ///     });
    /// let report = conformance::run(subject).await;
    /// assert_eq!(report.outcome(Rule::SharedCheckSeesDeath), Some(&RuleOutcome::Kept));
    /// # }
    /// ```
    #[must_use]
    pub fn shared<F>(mut self, exchange: F) -> Self
    where
        F: AsyncFn(&C::Connection, u64) -> Result<u64, BoxError> + 'static,
    {
        let exchange = Rc::new(exchange);
        self.shared = Some(SharedSide {
            exchange: Box::new(move |conn, number| {
                let exchange = Rc::clone(&exchange);
                Box::pin(async move { exchange(conn, number).await })
            }),
            check: |connector, conn| connector.check_shared(conn),
            is_clean: C::is_clean_shared,
        });
        self
    }
}

impl<C: Connector> Subject<C> {
    /// A connector about which nothing else is known.
    #[must_use]
    pub fn new(connector: C) -> Self {
        Self {
            connector: Arc::new(connector),
            exchange: None,
            shared: None,
            dirty: None,
            kill: None,
            resources: None,
            stalling: None,
            failing_permanently: None,
            failing_transiently: None,
            limit: LIMIT_DEFAULT,
            cycles: CYCLES_DEFAULT,
            waived: BTreeMap::new(),
            next: AtomicU64::new(1),
        }
    }

    /// How to make one exchange: sends a number to the other side and returns the number that comes
    /// back, so that a stale answer can be told from the right one.
    #[must_use]
    pub fn exchange<F>(mut self, exchange: F) -> Self
    where
        F: AsyncFn(&mut C::Connection, u64) -> Result<u64, BoxError> + 'static,
    {
        let exchange = Rc::new(exchange);
        self.exchange = Some(Box::new(move |conn, number| {
            let exchange = Rc::clone(&exchange);
            Box::pin(async move { exchange(conn, number).await })
        }));
        self
    }

    /// How to leave a connection as a careless caller would: with a request whose answer is not read,
    /// or with an open transaction.
    #[must_use]
    pub fn dirty<F>(mut self, dirty: F) -> Self
    where
        F: AsyncFn(&mut C::Connection) -> Result<(), BoxError> + 'static,
    {
        let dirty = Rc::new(dirty);
        self.dirty = Some(Box::new(move |conn| {
            let dirty = Rc::clone(&dirty);
            Box::pin(async move { dirty(conn).await })
        }));
        self
    }

    /// How to kill the other side of a connection from outside, without the connector knowing: send a
    /// signal to the process, or let the server shut the socket.
    #[must_use]
    pub fn kill<F, K>(mut self, kill: F) -> Self
    where
        F: Fn(&C::Connection) -> K + 'static,
        K: Future<Output = ()> + 'static,
    {
        self.kill = Some(Box::new(move |conn| Box::pin(kill(conn))));
        self
    }

    /// The resources behind the connections that exist now, by name: process ids, sockets. They are
    /// compared right after `close` returned, so list what must be gone by then.
    #[must_use]
    pub fn resources<F, I>(mut self, resources: F) -> Self
    where
        F: Fn() -> I + 'static,
        I: IntoIterator<Item: ToString>,
    {
        let names = move || {
            resources()
                .into_iter()
                .map(|name| name.to_string())
                .collect()
        };
        self.resources = Some(Box::new(names));
        self
    }

    /// A connector of the same kind whose peer never answers, so that its connect cannot succeed.
    #[must_use]
    pub fn stalling(mut self, connector: C) -> Self {
        self.stalling = Some(Arc::new(connector));
        self
    }

    /// A connector of the same kind that cannot connect until somebody changes something.
    #[must_use]
    pub fn failing_permanently(mut self, connector: C) -> Self {
        self.failing_permanently = Some(Arc::new(connector));
        self
    }

    /// A connector of the same kind that cannot connect at present.
    #[must_use]
    pub fn failing_transiently(mut self, connector: C) -> Self {
        self.failing_transiently = Some(Arc::new(connector));
        self
    }

    /// How long anything may take: what the rules call *soon* and *bounded*. Default: 10 seconds. Only
    /// broken connectors use it up.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How many cycles of acquire, exchange and close [`Rule::NothingLeaks`] makes. Default: 200.
    #[must_use]
    pub const fn cycles(mut self, cycles: usize) -> Self {
        self.cycles = cycles;
        self
    }

    /// Says that a rule does not apply to this connector, and why. The rule is not tried then.
    #[must_use]
    pub fn waive(mut self, rule: Rule, reason: impl Into<String>) -> Self {
        self.waived.insert(rule, reason.into());
        self
    }
}

impl<C: Connector> From<C> for Subject<C> {
    fn from(connector: C) -> Self {
        Self::new(connector)
    }
}

impl<C: Connector> fmt::Debug for Subject<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("exchange", &self.exchange.is_some())
            .field("shared", &self.shared.is_some())
            .field("dirty", &self.dirty.is_some())
            .field("kill", &self.kill.is_some())
            .field("resources", &self.resources.is_some())
            .field("limit", &self.limit)
            .field("cycles", &self.cycles)
            .field("waived", &self.waived)
            .finish_non_exhaustive()
    }
}

const LIMIT_DEFAULT: Duration = Duration::from_secs(10);
const CYCLES_DEFAULT: usize = 200;
