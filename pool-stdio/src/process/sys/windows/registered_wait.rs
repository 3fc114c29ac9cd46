//! Waits of the system's thread pool: one thread waits for some hundred handles.

#![expect(
    unsafe_code,
    reason = "the standard library has no waits of the thread pool"
)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

use super::win_errors::check;

/// What is waited for, and what is done then.
pub(super) trait Signalled: Send + Sync {
    /// It stays open as long as this lives.
    fn handle(&self) -> BorrowedHandle<'_>;

    /// The handle is signalled. Called once at most, on a thread that others wait for: it must not block,
    /// and must not drop the wait.
    fn signalled(&self);
}

/// A wait, until this is dropped.
#[derive(Debug)]
pub(super) struct RegisteredWait<T> {
    wait: HANDLE,
    waiter: Arc<T>,
}

// SAFETY: the handle of a wait can be used by any thread, and the waiter too.
unsafe impl<T: Send + Sync> Send for RegisteredWait<T> {}

// SAFETY: the same. Only the drop uses the handle.
unsafe impl<T: Send + Sync> Sync for RegisteredWait<T> {}

impl<T: Signalled> RegisteredWait<T> {
    pub(super) fn new(waiter: Arc<T>) -> io::Result<Self> {
        let mut wait = ptr::null_mut();
        // SAFETY: the waiter, and its handle with it, lives as long as the wait: it belongs to what is
        // returned, whose drop ends the wait.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait,
                waiter.handle().as_raw_handle(),
                Some(call::<T>),
                Arc::as_ptr(&waiter).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        check(done)?;
        Ok(Self { wait, waiter })
    }
}

impl<T> RegisteredWait<T> {
    pub(super) fn waiter(&self) -> &T {
        &self.waiter
    }
}

unsafe extern "system" fn call<T: Signalled>(waiter: *mut c_void, _: bool) {
    // SAFETY: it is the waiter of a `RegisteredWait`, which lives until this has returned.
    let waiter = unsafe { &*waiter.cast::<T>() };
    waiter.signalled();
}

impl<T> Drop for RegisteredWait<T> {
    fn drop(&mut self) {
        // SAFETY: the wait was registered once and is ended once. The call returns when the callback
        // has returned.
        let done = unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
        let (Ok(()) | Err(_)) = check(done);
    }
}
