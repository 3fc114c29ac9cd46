//! One read or write of a pipe that does not block: the buffer that the system works on, and the
//! state of the operation.
//!
//! # Invariants
//!
//! 1. There is at most one operation at a time.
//! 2. Buffer and `OVERLAPPED` stay where they are while an operation is in flight: they are on the
//!    heap, and the drop waits for the end of an operation after it was cancelled.

#![expect(
    unsafe_code,
    reason = "the standard library has no overlapped operations"
)]

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_IO_INCOMPLETE, ERROR_IO_PENDING};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::CreateEventW;

use super::win_errors::{check, code_of, length};

/// What the system works on.
pub(super) struct Operation {
    overlapped: Box<OVERLAPPED>,
    event: OwnedHandle,
    buffer: Box<[u8]>,
    /// How many bytes an operation in flight is about.
    in_flight: Option<usize>,
}

// SAFETY: the pointers in it are to memory and an event that belong to it.
unsafe impl Send for Operation {}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Operation");
        shown
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Whether completions are to be posted to the port that the file is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Posting {
    ToPort,
    /// The file may be bound to the port of another library, which does not know our operations.
    Nowhere,
}

impl Operation {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: neither attributes nor a name: the call takes no pointer.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            overlapped: Box::default(),
            // SAFETY: the handle was just made for us and has no other owner.
            event: unsafe { OwnedHandle::from_raw_handle(event) },
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            in_flight: None,
        })
    }

    pub(super) const fn in_flight(&self) -> Option<usize> {
        self.in_flight
    }

    fn prepare(&mut self, posting: Posting) {
        debug_assert_eq!(self.in_flight, None, "one operation at a time");
        let event = self.event.as_raw_handle();
        *self.overlapped = OVERLAPPED::default();
        self.overlapped.hEvent = match posting {
            Posting::ToPort => event,
            // The low bit keeps the completion from the port.
            Posting::Nowhere => event.map_addr(|address| address | 1),
        };
    }

    /// Begins to read. The result is asked for by [`result`](Self::result).
    pub(super) fn begin_read(
        &mut self,
        file: BorrowedHandle<'_>,
        posting: Posting,
    ) -> io::Result<()> {
        self.prepare(posting);
        // SAFETY: buffer and OVERLAPPED live, and are not moved, until the operation is over.
        let done = unsafe {
            ReadFile(
                file.as_raw_handle(),
                self.buffer.as_mut_ptr(),
                length(BUFFER_BYTES),
                ptr::null_mut(),
                &raw mut *self.overlapped,
            )
        };
        self.begun(done, BUFFER_BYTES)
    }

    /// Begins to write as much of the bytes as fits, and returns how much.
    pub(super) fn begin_write(
        &mut self,
        file: BorrowedHandle<'_>,
        bytes: &[u8],
        posting: Posting,
    ) -> io::Result<usize> {
        self.prepare(posting);
        let count = bytes.len().min(BUFFER_BYTES);
        self.buffer[..count].copy_from_slice(&bytes[..count]);
        // SAFETY: buffer and OVERLAPPED live, and are not moved, until the operation is over.
        let done = unsafe {
            WriteFile(
                file.as_raw_handle(),
                self.buffer.as_ptr(),
                length(count),
                ptr::null_mut(),
                &raw mut *self.overlapped,
            )
        };
        self.begun(done, count)?;
        Ok(count)
    }

    fn begun(&mut self, done: windows_sys::core::BOOL, bytes: usize) -> io::Result<()> {
        match check(done) {
            Err(error) if code_of(&error) != Some(ERROR_IO_PENDING) => Err(error),
            Ok(()) | Err(_) => {
                self.in_flight = Some(bytes);
                Ok(())
            }
        }
    }

    /// How many bytes the operation has moved; `None` while it is in flight.
    pub(super) fn result(&mut self, file: BorrowedHandle<'_>) -> io::Result<Option<usize>> {
        match self.ask(file, false) {
            Err(error) if code_of(&error) == Some(ERROR_IO_INCOMPLETE) => Ok(None),
            outcome => {
                self.in_flight = None;
                outcome.map(Some)
            }
        }
    }

    fn ask(&self, file: BorrowedHandle<'_>, is_waiting: bool) -> io::Result<usize> {
        let mut count = 0;
        // SAFETY: the operation was begun with this OVERLAPPED; the number is written to memory of
        // ours.
        let done = unsafe {
            GetOverlappedResult(
                file.as_raw_handle(),
                &raw const *self.overlapped,
                &raw mut count,
                is_waiting.into(),
            )
        };
        check(done).map(|()| count as usize)
    }

    /// What was read.
    pub(super) fn bytes(&self, count: usize) -> &[u8] {
        &self.buffer[..count]
    }

    /// Cancels what is in flight, and waits until the system has let go of the buffer.
    pub(super) fn cancel(&mut self, file: BorrowedHandle<'_>) {
        if self.in_flight.take().is_some() {
            // SAFETY: the OVERLAPPED is that of the operation.
            let cancelled =
                unsafe { CancelIoEx(file.as_raw_handle(), &raw const *self.overlapped) };
            // It fails if the operation is over.
            let (Ok(()) | Err(_)) = check(cancelled);
            let (Ok(_) | Err(_)) = self.ask(file, true);
        }
    }
}

/// As much as a pipe holds by default on other systems.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
