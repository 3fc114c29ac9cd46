//! An await that the test holds shut until it chooses to let the code under test go on.
//!
//! A gate replaces a sleep: the code under test calls [`Gate::wait`], the test waits until it has
//! [arrived](Gate::arrived) there, looks at whatever it wants to look at, and lets it go.
//! Callers pass in the order they arrived. Nothing here needs a runtime.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// A barrier that callers wait at until the test lets them pass.
///
/// A clone is the same gate.
///
/// # Examples
///
/// ```
/// use pool_testkit::gate::Gate;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gate = Gate::new();
/// let caller = {
///     let gate = gate.clone();
///     async move {
///         gate.wait().await;
///         "through"
///     }
/// };
/// let test = async {
///     gate.arrived(1).await;
///     assert_eq!(gate.waiting(), 1);
///     gate.let_one();
/// };
/// let (said, ()) = tokio::join!(caller, test);
/// assert_eq!((said, gate.waiting()), ("through", 0));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// One permit for each caller that may pass; closed once the gate is open for ever.
    permits: Semaphore,
    callers: watch::Sender<Callers>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Callers {
    arrived: usize,
    waiting: usize,
}

impl Gate {
    /// A gate that is shut.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            permits: Semaphore::new(0),
            callers: watch::Sender::new(Callers::default()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits until the test lets this caller pass.
    ///
    /// # Cancel safety
    ///
    /// A caller that is dropped leaves the queue. If it had been let go already, the next caller
    /// may pass instead of it.
    pub async fn wait(&self) {
        let _present = Present::arrive(&self.inner.callers);
        // An error says that the gate is open for ever.
        if let Ok(permit) = self.inner.permits.acquire().await {
            permit.forget();
        }
    }

    /// Waits until `count` callers in all have arrived, whether or not they have passed since.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    pub async fn arrived(&self, count: usize) {
        self.until(|callers| callers.arrived >= count).await;
    }

    /// Waits until exactly `count` callers stand at the gate.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    pub async fn standing(&self, count: usize) {
        self.until(|callers| callers.waiting == count).await;
    }

    /// How many callers stand at the gate now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.callers.borrow().waiting
    }

    /// How many callers have arrived so far, whether or not they have passed since.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.inner.callers.borrow().arrived
    }

    /// Lets everybody pass, now and for ever.
    pub fn open(&self) {
        self.inner.permits.close();
    }

    /// Lets one caller pass: the one who waits longest, or the next to come if nobody does.
    pub fn let_one(&self) {
        self.let_some(1);
    }

    /// Lets `count` callers pass, as [`let_one`](Self::let_one) lets one.
    pub fn let_some(&self, count: usize) {
        self.inner.permits.add_permits(count);
    }

    /// Whether the gate was opened for ever.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.permits.is_closed()
    }

    async fn until(&self, reached: impl Fn(&Callers) -> bool) {
        let mut callers = self.inner.callers.subscribe();
        // The sender lives as long as `self`, so this ends only by reaching the number.
        let reached = callers.wait_for(|callers| reached(callers)).await;
        debug_assert!(reached.is_ok(), "the gate outlives the wait for it");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A caller who stands at the gate; it leaves by being dropped.
struct Present<'a> {
    callers: &'a watch::Sender<Callers>,
}

impl<'a> Present<'a> {
    fn arrive(callers: &'a watch::Sender<Callers>) -> Self {
        callers.send_modify(|callers| {
            callers.arrived += 1;
            callers.waiting += 1;
        });
        Self { callers }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.callers.send_modify(|callers| callers.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Gate;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn callers_pass_in_the_order_of_their_arrival() {
        let gate = Gate::new();
        let (mut first, mut second) = (pin!(gate.wait()), pin!(gate.wait()));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        gate.let_one();
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(first.as_mut()).is_ready());
        gate.let_one();
        assert!(poll(second.as_mut()).is_ready());
        assert_eq!((gate.waiting(), gate.arrivals()), (0, 2));
    }

    #[test]
    fn a_caller_dropped_after_it_was_let_go_gives_its_pass_to_the_next() {
        let gate = Gate::new();
        let mut first = Box::pin(gate.wait());
        let mut second = pin!(gate.wait());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        gate.let_one();
        drop(first);
        assert_eq!(gate.waiting(), 1);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn a_pass_given_in_advance_is_kept_for_the_next_caller() {
        let gate = Gate::new();
        gate.let_one();
        assert!(poll(pin!(gate.wait())).is_ready());
        assert!(poll(pin!(gate.wait())).is_pending());
    }

    #[test]
    fn an_open_gate_holds_nobody() {
        let gate = Gate::new();
        let mut early = pin!(gate.wait());
        assert!(poll(early.as_mut()).is_pending());
        gate.open();
        assert!(gate.is_open());
        assert!(poll(early.as_mut()).is_ready());
        assert!(poll(pin!(gate.wait())).is_ready());
    }

    #[test]
    fn the_test_sees_arrivals_and_those_who_stand() {
        let gate = Gate::new();
        let (mut two, mut none) = (pin!(gate.arrived(2)), pin!(gate.standing(0)));
        assert!(poll(none.as_mut()).is_ready());
        let mut first = Box::pin(gate.wait());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(two.as_mut()).is_pending());
        drop(first);
        assert!(poll(pin!(gate.wait())).is_pending());
        assert!(poll(two.as_mut()).is_ready());
    }
}
