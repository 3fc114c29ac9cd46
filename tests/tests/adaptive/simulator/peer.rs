//! Peers whose requests only take time: at a stage of each connection, and at one that all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, ConnectContext, ConnectError, Connector, SharedConnector, async_trait,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::random::SharedRandom;

/// How long one request takes at a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    /// Always as long.
    Constant(Duration),
    /// By chance, with this mean.
    Random(Duration),
    /// By chance: every tenth request takes fifty times as long as the others.
    Mixed(Duration),
}

/// A place where requests are served, so many at a time, the first to come first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    /// How many at a time.
    pub(crate) lanes: usize,
    /// How long each.
    pub(crate) service: Service,
}

/// What is behind the connections of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Of each connection.
    pub(crate) own: Lanes,
    /// Passed after it by the requests of all connections.
    pub(crate) backend: Option<Lanes>,
    /// Each further request at a time on a connection makes all of them take longer by this part.
    pub(crate) slower_by_load: f64,
    /// A request takes twice as long after this time, three times after twice of it, and so on.
    pub(crate) ages_in: Option<Duration>,
    /// How long a connect takes.
    pub(crate) connect: Duration,
    /// How long a connection lives, by chance, with this mean.
    pub(crate) life: Option<Duration>,
}

impl Peer {
    /// Each connection serves one request after the other.
    pub(crate) const fn serial(service: Service) -> Self {
        Self::with_lanes(1, service)
    }

    /// Each connection serves any number of requests at a time, none slower than alone.
    pub(crate) const fn multiplexing(service: Service) -> Self {
        Self::with_lanes(Semaphore::MAX_PERMITS, service)
    }

    /// Each connection serves so many requests at a time.
    pub(crate) const fn with_lanes(lanes: usize, service: Service) -> Self {
        Self {
            own: Lanes { lanes, service },
            backend: None,
            slower_by_load: 0.0,
            ages_in: None,
            connect: Duration::from_millis(50),
            life: None,
        }
    }

    /// Any number of requests at a time on each connection, but so many at a time at the backend.
    pub(crate) const fn backed(own: Service, lanes: usize, service: Service) -> Self {
        let mut peer = Self::multiplexing(own);
        peer.backend = Some(Lanes { lanes, service });
        peer
    }
}

impl Service {
    fn time(self, random: &SharedRandom) -> Duration {
        match self {
            Self::Constant(time) => time,
            Self::Random(mean) => random.exponential(mean),
            Self::Mixed(usual) if random.fraction() < 0.1 => usual * 50,
            Self::Mixed(usual) => usual,
        }
    }
}

#[derive(Debug)]
struct LaneQueue {
    service: Service,
    lanes: Semaphore,
}

impl LaneQueue {
    fn new(stage: Lanes) -> Self {
        Self {
            service: stage.service,
            lanes: Semaphore::new(stage.lanes),
        }
    }

    async fn pass(&self, times: f64, random: &SharedRandom) {
        let _lane = self.lanes.acquire().await.expect("it is never closed");
        sleep(self.service.time(random).mul_f64(times)).await;
    }
}

/// Connects to a peer.
#[derive(Debug)]
pub(crate) struct SimulatedServer {
    peer: Peer,
    began: Instant,
    backend: Option<LaneQueue>,
    random: Arc<SharedRandom>,
}

impl SimulatedServer {
    pub(crate) fn new(peer: Peer, random: Arc<SharedRandom>) -> Self {
        Self {
            peer,
            began: Instant::now(),
            backend: peer.backend.map(LaneQueue::new),
            random,
        }
    }
}

/// A connection to a simulated peer.
#[derive(Debug)]
pub(crate) struct SimulatedConnection {
    server: Arc<SimulatedServer>,
    own: LaneQueue,
    load: AtomicU32,
    /// If it dies.
    dies: Option<Instant>,
}

impl SimulatedConnection {
    /// A request; says whether there was an answer.
    pub(crate) async fn request(&self) -> bool {
        let others = self.load.fetch_add(1, Ordering::Relaxed);
        let is_answered = match self.dies {
            Some(dies) => timeout_at(dies, self.serve(others)).await.is_ok(),
            None => {
                self.serve(others).await;
                true
            }
        };
        self.load.fetch_sub(1, Ordering::Relaxed);
        is_answered
    }

    /// Serves a request beside so many others.
    async fn serve(&self, others: u32) {
        let server = &self.server;
        let by_load = 1.0 + server.peer.slower_by_load * f64::from(others);
        let age = server.began.elapsed().as_secs_f64();
        let by_age = 1.0
            + server
                .peer
                .ages_in
                .map_or(0.0, |time| age / time.as_secs_f64());
        self.own.pass(by_load * by_age, &server.random).await;
        if let Some(backend) = &server.backend {
            backend.pass(by_age, &server.random).await;
        }
    }
}

/// The connector of a simulated peer.
#[derive(Debug)]
pub(crate) struct SimulatedConnector(pub(super) Arc<SimulatedServer>);

#[async_trait]
impl Connector for SimulatedConnector {
    type Connection = SimulatedConnection;

    async fn connect(&self, _cx: &ConnectContext) -> Result<SimulatedConnection, ConnectError> {
        let peer = &self.0.peer;
        sleep(peer.connect).await;
        let life = peer.life.map(|mean| self.0.random.exponential(mean));
        Ok(SimulatedConnection {
            server: Arc::clone(&self.0),
            own: LaneQueue::new(peer.own),
            load: AtomicU32::new(0),
            dies: life.map(|life| Instant::now() + life),
        })
    }

    fn is_alive(&self, conn: &SimulatedConnection) -> bool {
        conn.dies.is_none_or(|dies| Instant::now() < dies)
    }

    fn died(&self, conn: &SimulatedConnection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let dies = conn.dies?;
        Some(Box::pin(async move {
            sleep_until(dies).await;
            None
        }))
    }
}

impl SharedConnector for SimulatedConnector {}
