//! The only locks of the crate, and the switch to loom.
//!
//! With `--cfg loom` every type here is loom's, or a twin built on loom's, so that the models check
//! the very code that runs in production.
//!
//! # Locking
//!
//! There are four locks: the store's, the inbox's, that of the callers that wait for the last events of a
//! pool, and that of a budget's accounts. They are never held together, never across an await, and
//! never while code of a connector, an observer, a waker or a connection runs. The locks of a budget's
//! figures and of its claims are leaves: nothing else is locked while one of them is held, also inside
//! the critical sections of accounts and stores. So is the lock of what a reader of weights has to do. The lock of the key table of a keyed pool can be held
//! while a store's is taken to see whether its key is in use; keys are compared and hashed under it.

#[cfg(not(loom))]
use std::sync as imp;

#[cfg(loom)]
use loom::sync as imp;

pub(crate) use imp::{Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};

/// A mutex that ignores poison: no foreign code runs in a critical section, and each one leaves its
/// data consistent.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poison) => poison.into_inner(),
        }
    }
}

/// A lock that many may read; it ignores poison.
#[derive(Debug)]
pub(crate) struct RwLock<T>(imp::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }

    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.0.read() {
            Ok(guard) => guard,
            Err(poison) => poison.into_inner(),
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.0.write() {
            Ok(guard) => guard,
            Err(poison) => poison.into_inner(),
        }
    }
}

pub(crate) use permits::{Permit, Permits};

/// The capacity of a pool: a semaphore that is never waited on.
///
/// # Invariants
///
/// Permits taken plus permits free is the larger of the pool's limit and its number of slots.
#[cfg(not(loom))]
mod permits {
    use std::sync::Arc;

    use tokio::sync::{OwnedSemaphorePermit, Semaphore};

    #[derive(Debug)]
    pub(crate) struct Permits(Arc<Semaphore>);

    /// The right to one slot; gives it back when dropped.
    #[derive(Debug)]
    pub(crate) struct Permit(OwnedSemaphorePermit);

    impl Permits {
        pub(crate) const MAX: usize = Semaphore::MAX_PERMITS;

        pub(crate) fn new(count: usize) -> Self {
            Self(Arc::new(Semaphore::new(count)))
        }

        pub(crate) fn try_take(&self) -> Option<Permit> {
            Arc::clone(&self.0).try_acquire_owned().ok().map(Permit)
        }

        pub(crate) fn add(&self, count: usize) {
            self.0.add_permits(count);
        }

        /// Destroys `count` free permits.
        pub(crate) fn remove(&self, count: usize) {
            let removed = self.0.forget_permits(count);
            debug_assert_eq!(
                removed, count,
                "invariant broken: a free slot has a free permit"
            );
        }
    }

    impl Permit {
        /// Destroys the permit instead of giving it back.
        pub(crate) fn forget(self) {
            self.0.forget();
        }
    }
}

#[cfg(loom)]
mod permits {
    use super::{Arc, Mutex};

    #[derive(Debug)]
    pub(crate) struct Permits(Arc<Mutex<usize>>);

    /// The right to one slot; gives it back when dropped.
    #[derive(Debug)]
    pub(crate) struct Permit(Option<Arc<Mutex<usize>>>);

    impl Permits {
        pub(crate) const MAX: usize = usize::MAX >> 3;

        pub(crate) fn new(count: usize) -> Self {
            Self(Arc::new(Mutex::new(count)))
        }

        pub(crate) fn try_take(&self) -> Option<Permit> {
            let mut free = self.0.lock();
            *free = free.checked_sub(1)?;
            Some(Permit(Some(Arc::clone(&self.0))))
        }

        pub(crate) fn add(&self, count: usize) {
            *self.0.lock() += count;
        }

        pub(crate) fn remove(&self, count: usize) {
            let mut free = self.0.lock();
            let left = free.checked_sub(count);
            *free = left.expect("invariant broken: a free slot has a free permit");
        }
    }

    impl Permit {
        pub(crate) fn forget(mut self) {
            self.0 = None;
        }
    }

    impl Drop for Permit {
        fn drop(&mut self) {
            if let Some(free) = &self.0 {
                *free.lock() += 1;
            }
        }
    }
}
