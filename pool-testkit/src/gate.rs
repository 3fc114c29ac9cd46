//! A gate that holds the code under test at an await until the test lets it go on.
//!
//! It replaces a sleep. The code under test calls [`Gate::wait`]. The test waits until the code has
//! [arrived](Gate::arrived) there, looks at what it wants to see, and opens the gate. Nothing here needs
//! a runtime.

use std::sync::Arc;

use tokio::sync::watch;

/// Callers wait here until the test opens it. A clone is the same gate.
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
///     gate.open();
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
    is_open: watch::Sender<bool>,
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
            is_open: watch::Sender::new(false),
            callers: watch::Sender::new(Callers::default()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits until the gate is open.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state but the count of those who wait: can be dropped and called again.
    pub async fn wait(&self) {
        let _present = Present::arrive(&self.inner.callers);
        let mut is_open = self.inner.is_open.subscribe();
        let opened = is_open.wait_for(|is_open| *is_open).await;
        debug_assert!(opened.is_ok(), "the gate outlives the wait at it");
    }

    /// Waits until `count` callers in all have arrived. Those who have passed since count as well.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    pub async fn arrived(&self, count: usize) {
        let mut callers = self.inner.callers.subscribe();
        let arrived = callers.wait_for(|callers| callers.arrived >= count).await;
        debug_assert!(arrived.is_ok(), "the gate outlives the wait for it");
    }

    /// How many callers wait at the gate now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.callers.borrow().waiting
    }

    /// Lets all callers pass, now and for ever.
    pub fn open(&self) {
        self.inner.is_open.send_replace(true);
    }

    /// Whether the gate was opened.
    pub(crate) fn is_open(&self) -> bool {
        *self.inner.is_open.borrow()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A caller at the gate. It leaves when this is dropped.
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
    fn a_caller_that_left_has_still_arrived() {
        let gate = Gate::new();
        let mut two = pin!(gate.arrived(2));
        let mut first = Box::pin(gate.wait());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(two.as_mut()).is_pending());
        drop(first);
        assert_eq!(gate.waiting(), 0);
        assert!(poll(pin!(gate.wait())).is_pending());
        assert!(poll(two.as_mut()).is_ready());
    }
}
