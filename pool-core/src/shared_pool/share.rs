//! A share of a connection, and the check of a connection while it serves.

use std::panic::Location;
use std::sync::Arc as StdArc;

use crate::connect::run_check;
use crate::connector::SuspicionSink;
use crate::engine::{Engine, Lends, PoolStore};
use crate::error::CheckError;
use crate::foreign;
use crate::id::ConnectionId;
use crate::store::{Condition, Multiplexed, ShareKey, SlotKey};
use crate::sync::Arc;

/// A share of a connection. It is counted by the store, so it must be given back.
pub(crate) struct Share<T: Send + Sync + 'static> {
    pub(crate) connection: StdArc<T>,
    pub(crate) key: ShareKey,
    pub(crate) id: ConnectionId,
    pub(crate) engine: Arc<Engine<StdArc<T>, Multiplexed>>,
}

impl<T: Send + Sync + 'static> Share<T> {
    /// A share that the store has counted already.
    fn of(store: &PoolStore<StdArc<T>, Multiplexed>, key: ShareKey) -> Self {
        let open = store.shared_connection(key.slot);
        Self {
            connection: StdArc::clone(open.connection()),
            key,
            id: open.id(),
            engine: Arc::clone(open.engine()),
        }
    }

    /// Its lease is over.
    pub(crate) fn end(
        self,
        condition: impl FnOnce(&Engine<StdArc<T>, Multiplexed>, &StdArc<T>) -> Condition,
    ) {
        let Self {
            connection,
            key,
            engine,
            ..
        } = self;
        let condition = condition(&engine, &connection);
        give_back(connection, key, &engine, condition);
        // This may be the last reference to the connector, whose drop is foreign code.
        foreign::drop_quietly(engine);
    }
}

fn give_back<T: Send + Sync + 'static>(
    connection: StdArc<T>,
    key: ShareKey,
    engine: &Engine<StdArc<T>, Multiplexed>,
    condition: Condition,
) {
    // Order: our handle of the connection goes before the store may close it.
    foreign::drop_quietly(connection);
    let mut store = match condition {
        Condition::Clean | Condition::NeedsReset => engine.enter(),
        Condition::Ended | Condition::Unfit(_) => engine.enter_precisely(),
    };
    store.give_back_share(key, condition);
    engine.finish(store);
}

impl<T: Send + Sync + 'static> Lends<StdArc<T>> for Multiplexed {
    type Lent = Share<T>;

    fn take(
        store: &mut PoolStore<StdArc<T>, Self>,
        site: &'static Location<'static>,
    ) -> Option<Share<T>> {
        let key = store.take_share(site)?;
        Some(Share::of(store, key))
    }

    fn take_stale(
        store: &mut PoolStore<StdArc<T>, Self>,
        site: &'static Location<'static>,
    ) -> Option<Share<T>> {
        let key = store.take_stale_share(site)?;
        Some(Share::of(store, key))
    }

    fn claim(store: &PoolStore<StdArc<T>, Self>, served: ShareKey) -> Share<T> {
        Share::of(store, served)
    }

    fn accept(store: &mut PoolStore<StdArc<T>, Self>, lent: &Share<T>) -> Result<(), Condition> {
        store.accept_share(lent.key)
    }

    fn connection(lent: &Share<T>) -> &StdArc<T> {
        &lent.connection
    }

    #[cold]
    fn discard_dead(lent: Share<T>, engine: &Engine<StdArc<T>, Self>) {
        let key = lent.key;
        foreign::drop_quietly(lent.connection);
        let mut store = engine.enter_precisely();
        store.discard_dead_share(key);
        engine.finish(store);
    }

    fn give_back(lent: Share<T>, engine: &Engine<StdArc<T>, Self>, condition: Condition) {
        give_back(lent.connection, lent.key, engine, condition);
    }

    fn watch_suspicion(
        engine: &Arc<Engine<StdArc<T>, Self>>,
        connection: &StdArc<T>,
        key: SlotKey,
        id: ConnectionId,
    ) {
        let told = Arc::clone(engine);
        let sink = SuspicionSink::new(move |is_suspected| {
            let mut store = told.enter_precisely();
            store.suspect(key, id, is_suspected);
            told.finish(store);
        });
        let watched = foreign::catch("watch_suspicion", || {
            engine.connector.watch_suspicion(connection, sink);
        });
        if let Err(fault) = watched {
            foreign::log(&fault);
        }
    }

    // Not an `async fn`: a task that is dropped before its first poll must end the check as well.
    fn run(
        upkeep: SlotKey,
        engine: Arc<Engine<StdArc<T>, Self>>,
    ) -> impl Future<Output = ()> + Send {
        SharedCheck::new(engine, upkeep).run()
    }

    fn abandon(upkeep: SlotKey, engine: &Engine<StdArc<T>, Self>) {
        end_check(engine, upkeep, None);
    }
}

/// A check of a shared connection, which the store keeps open until this is dropped.
struct SharedCheck<T: Send + Sync + 'static> {
    engine: Arc<Engine<StdArc<T>, Multiplexed>>,
    key: SlotKey,
    result: Option<Result<(), CheckError>>,
}

impl<T: Send + Sync + 'static> SharedCheck<T> {
    const fn new(engine: Arc<Engine<StdArc<T>, Multiplexed>>, key: SlotKey) -> Self {
        Self {
            engine,
            key,
            result: None,
        }
    }

    fn connection(&self) -> StdArc<T> {
        let store = self.engine.lock();
        StdArc::clone(store.shared_connection(self.key).connection())
    }

    async fn run(mut self) {
        let mut connection = self.connection();
        let result = run_check(&self.engine, &mut connection).await;
        // Order: our handle goes before the check is over. Otherwise the store could close the
        // connection while we have one.
        foreign::drop_quietly(connection);
        self.result = Some(result);
    }
}

impl<T: Send + Sync + 'static> Drop for SharedCheck<T> {
    fn drop(&mut self) {
        end_check(&self.engine, self.key, self.result.take());
    }
}

fn end_check<T: Send + Sync + 'static>(
    engine: &Engine<StdArc<T>, Multiplexed>,
    key: SlotKey,
    result: Option<Result<(), CheckError>>,
) {
    let now = engine.clock.now();
    let mut store = engine.enter();
    store.checked_share(key, result, now);
    engine.finish(store);
}
