//! How many threads may ask the file system for programs.
//!
//! A mount that hangs keeps the thread of each look-up for as long as it hangs, and threads are bounded. So
//! those that ask for the same can take only a few of them, and the starts of other programs go on. A look-up that
//! waits for others is refused when all of these hang, or when it has waited for a minute. That they are many is
//! no reason: a crowd on a busy machine is served.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// The look-ups that are under way.
#[derive(Debug)]
pub(crate) struct LookUps {
    all: Arc<Lane>,
    /// Of those that ask for the same.
    same: RefCell<BTreeMap<String, Weak<Lane>>>,
}

/// Why a look-up has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUpFailure {
    /// The file system does not answer.
    Hangs,
    /// It has not answered earlier ones that asked for the same.
    SameHang,
    /// It has not answered very many others.
    ManyHang,
    /// It was not asked: others were slow, or there was no thread.
    NotBegun,
}

impl LookUps {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Lane::new(LOOK_UPS_MAX)),
            same: RefCell::default(),
        }
    }

    /// Runs a look-up on a thread. `subject` is what it asks for.
    ///
    /// # Errors
    ///
    /// It did not begin within [`WAIT_LIMIT`], or because others hang; or it has no result within [`LOOK_UP_LIMIT`] of
    /// its begin. Then it goes on, and counts until it ends.
    ///
    /// # Cancel safety
    ///
    /// A look-up that has not begun does not run any more. One that has begun goes on, and counts as one that hangs until
    /// it ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        subject: String,
        look_up: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LookUpFailure> {
        let begin = async {
            let same = self.same(subject).enter().await;
            let same = same.ok_or(LookUpFailure::SameHang)?;
            let all = Arc::clone(&self.all).enter().await;
            let all = all.ok_or(LookUpFailure::ManyHang)?;
            Ok(begin_on_thread([same, all], look_up).await)
        };
        let begun = timeout(WAIT_LIMIT, begin).await;
        let (task, _waiting) = begun.unwrap_or(Err(LookUpFailure::NotBegun))?;
        match timeout(LOOK_UP_LIMIT, task).await {
            Ok(Ok(Some(found))) => Ok(found),
            Ok(Ok(None) | Err(_)) | Err(_) => Err(LookUpFailure::Hangs),
        }
    }

    fn same(&self, subject: String) -> Arc<Lane> {
        let mut all = self.same.borrow_mut();
        if let Some(same) = all.get(&subject).and_then(Weak::upgrade) {
            return same;
        }
        all.retain(|_, same| same.strong_count() > 0);
        let same = Arc::new(Lane::new(SAME_LOOK_UPS_MAX));
        all.insert(subject, Arc::downgrade(&same));
        same
    }
}

/// Waits until a thread has begun the look-up. Cancel: it never begins then, and its places are free at once.
async fn begin_on_thread<T: Send + 'static>(
    places: [Place; 2],
    look_up: impl FnOnce() -> T + Send + 'static,
) -> (JoinHandle<Option<T>>, Waiting) {
    let under_way = Arc::new(UnderWay {
        places,
        is_hanging: AtomicBool::new(false),
    });
    // Order: dropped before what it counts.
    let waiting = Waiting(Arc::downgrade(&under_way));
    let awaited = Arc::downgrade(&under_way);
    let (begin, begun) = oneshot::channel();
    let task = spawn_blocking(move || {
        let _under_way = awaited.upgrade()?;
        let (Ok(()) | Err(())) = begin.send(());
        Some(look_up())
    });
    let (Ok(()) | Err(_)) = begun.await;
    (task, waiting)
}

/// Room for some look-ups at a time.
#[derive(Debug)]
struct Lane {
    places: Arc<Semaphore>,
    size: usize,
    /// How many of those that have a place hang.
    hanging: watch::Sender<usize>,
}

impl Lane {
    fn new(size: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size)),
            size,
            hanging: watch::Sender::new(0),
        }
    }

    /// Waits for a place; `None` if all that have one hang.
    async fn enter(self: Arc<Self>) -> Option<Place> {
        let mut hanging = self.hanging.subscribe();
        let permit = tokio::select! {
            biased;
            permit = Arc::clone(&self.places).acquire_owned() => permit.ok()?,
            _ = hanging.wait_for(|count| *count == self.size) => return None,
        };
        Some(Place {
            lane: self,
            _permit: permit,
        })
    }
}

/// A place in a lane. Keeps the lane as well: who asks for the same next must find it.
#[derive(Debug)]
struct Place {
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

/// A look-up from its begin to its end, which its thread decides.
#[derive(Debug)]
struct UnderWay {
    places: [Place; 2],
    is_hanging: AtomicBool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if *self.is_hanging.get_mut() {
            for place in &self.places {
                place.lane.hanging.send_modify(|count| *count -= 1);
            }
        }
    }
}

/// A caller that waits for a look-up. One that has not ended when the caller leaves counts as one that hangs.
#[derive(Debug)]
struct Waiting(Weak<UnderWay>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(under_way) = self.0.upgrade() {
            under_way.is_hanging.store(true, Ordering::Relaxed);
            for place in &under_way.places {
                place.lane.hanging.send_modify(|count| *count += 1);
            }
        }
    }
}

/// For one look at a program and its directory.
pub(crate) const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);
/// How long a start waits until its look-up begins. Others can be slow without hanging.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// Fewer than the runtime has threads for: 512.
pub(crate) const LOOK_UPS_MAX: usize = 256;
/// One takes some microseconds, so a few at a time are fast enough for a crowd.
pub(crate) const SAME_LOOK_UPS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::pin::Pin;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Context, Waker};
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::task::yield_now;
    use tokio::time::{Instant, advance};

    use super::*;

    type Run<'a> = Pin<Box<dyn Future<Output = Result<(), LookUpFailure>> + 'a>>;

    /// Look-ups of the same that begin one after another and end when they are released.
    struct Crowd<'a> {
        runs: Vec<Run<'a>>,
        releases: Vec<Sender<()>>,
        begun: Receiver<usize>,
    }

    impl<'a> Crowd<'a> {
        fn new(look_ups: &'a LookUps, count: usize) -> Self {
            let (begin, begun) = channel();
            let mut crowd = Self {
                runs: Vec::new(),
                releases: Vec::new(),
                begun,
            };
            for number in 0..count {
                let (release, released) = channel();
                let begin = begin.clone();
                let hang = move || {
                    begin.send(number).unwrap();
                    let (Ok(()) | Err(_)) = released.recv();
                };
                crowd
                    .runs
                    .push(Box::pin(look_ups.run("same".to_owned(), hang)));
                crowd.releases.push(release);
            }
            crowd
        }

        /// So that each is where it can be.
        fn poll(&mut self, from: usize) {
            let mut cx = Context::from_waker(Waker::noop());
            for run in &mut self.runs[from..] {
                assert!(run.as_mut().poll(&mut cx).is_pending());
            }
        }
    }

    /// A look-up without a thread fails a test, and does not hang it.
    fn within_a_minute(test: impl AsyncFnOnce() + Send + 'static) {
        with_threads(2 * LOOK_UPS_MAX, test);
    }

    fn with_threads(count: usize, test: impl AsyncFnOnce() + Send + 'static) {
        let (sender, done) = channel();
        thread::spawn(move || {
            let mut builder = Builder::new_current_thread();
            builder.max_blocking_threads(count);
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(test());
            sender.send(()).unwrap();
        });
        done.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_file_system_that_hangs_delays_no_other_start() {
        within_a_minute(async || {
            let look_ups = LookUps::new();
            let mut crowd = Crowd::new(&look_ups, 600);
            crowd.poll(0);
            for _ in 0..SAME_LOOK_UPS_MAX {
                crowd.begun.recv().unwrap();
            }
            crowd.poll(0);
            advance(LOOK_UP_LIMIT).await;
            let mut failures = Vec::new();
            for run in crowd.runs {
                failures.push(run.await.unwrap_err());
            }
            let (begun, waiting) = failures.split_at(SAME_LOOK_UPS_MAX);
            assert!(begun.iter().all(|one| *one == LookUpFailure::Hangs));
            assert!(waiting.iter().all(|one| *one == LookUpFailure::SameHang));
            assert_eq!(waiting.len(), 596);
            assert_eq!(look_ups.run("other".to_owned(), || 7).await, Ok(7));
            let again = look_ups.run("same".to_owned(), || 8).await;
            assert_eq!(again, Err(LookUpFailure::SameHang));
            drop(crowd.releases);
            // It answers at last.
            while look_ups.run("same".to_owned(), || 8).await != Ok(8) {
                yield_now().await;
            }
        });
    }

    #[test]
    fn a_crowd_that_is_served_slowly_is_served() {
        within_a_minute(async || {
            let look_ups = LookUps::new();
            let mut crowd = Crowd::new(&look_ups, 20);
            crowd.poll(0);
            let mut begun = BTreeSet::new();
            for number in 0..20 {
                // Those before it have ended, so it has a place. It needs a thread, and may wait for it.
                while !begun.contains(&number) {
                    begun.extend(crowd.begun.try_iter());
                    yield_now().await;
                }
                crowd.poll(number);
                advance(LOOK_UP_LIMIT / 5).await;
                crowd.releases[number].send(()).unwrap();
                assert_eq!(crowd.runs[number].as_mut().await, Ok(()));
                crowd.poll(number + 1);
            }
        });
    }

    #[test]
    fn a_turn_that_does_not_come_is_no_hang() {
        within_a_minute(async || {
            let look_ups = LookUps::new();
            let same = look_ups.same("same".to_owned());
            let mut slow = Vec::new();
            for _ in 0..SAME_LOOK_UPS_MAX {
                slow.push(Arc::clone(&same).enter().await.unwrap());
            }
            let begin = Instant::now();
            let refused = look_ups.run("same".to_owned(), || 7).await;
            assert_eq!(refused, Err(LookUpFailure::NotBegun));
            assert_eq!(begin.elapsed(), WAIT_LIMIT);
            drop(slow);
            assert_eq!(look_ups.run("same".to_owned(), || 7).await, Ok(7));
        });
    }

    #[test]
    fn a_look_up_without_a_thread_is_given_up() {
        with_threads(1, async || {
            let look_ups = LookUps::new();
            let (release, released) = channel::<()>();
            let busy = spawn_blocking(move || released.recv());
            let (ran, has_run) = channel();
            let mut run: Run =
                Box::pin(look_ups.run("a".to_owned(), move || ran.send(()).unwrap()));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(run.as_mut().poll(&mut cx).is_pending());
            advance(WAIT_LIMIT).await;
            assert_eq!(run.await, Err(LookUpFailure::NotBegun));
            assert_eq!(look_ups.all.places.available_permits(), LOOK_UPS_MAX);
            drop(release);
            assert!(busy.await.unwrap().is_err());
            assert_eq!(look_ups.run("a".to_owned(), || 7).await, Ok(7));
            has_run.try_recv().unwrap_err();
        });
    }

    #[test]
    fn a_look_up_that_nobody_waits_for_counts_as_one_that_hangs() {
        within_a_minute(async || {
            let look_ups = LookUps::new();
            let mut crowd = Crowd::new(&look_ups, SAME_LOOK_UPS_MAX);
            crowd.poll(0);
            for _ in 0..SAME_LOOK_UPS_MAX {
                crowd.begun.recv().unwrap();
            }
            crowd.runs.clear();
            let refused = look_ups.run("same".to_owned(), || 8).await;
            assert_eq!(refused, Err(LookUpFailure::SameHang));
            drop(crowd.releases);
            while look_ups.run("same".to_owned(), || 8).await != Ok(8) {
                yield_now().await;
            }
        });
    }
}
