//! Our end of one pipe, whoever reads or writes it: a task of a connection first, then the custodian.
//!
//! Windows tells when an operation is over, Unix when one would not block. This makes the first into
//! the second: a read or write that cannot be finished at once is left in flight and fails with
//! `WouldBlock`; the next one looks whether it is over.

#![expect(unsafe_code, reason = "the standard library cannot look into a pipe")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::sync::{Arc, Mutex};

use windows_sys::Win32::System::Pipes::PeekNamedPipe;

use super::overlapped::{Operation, Posting};
use super::port::{Lingering, Listener, Port, PortKey};
use super::win_errors::{check, is_hung_up};
use crate::process::lock::lock;

/// What a look at a pipe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) is_ready: bool,
    pub(crate) is_hung_up: bool,
}

/// Our end of a pipe.
#[derive(Debug)]
pub(crate) struct PipeCore {
    work: Mutex<Work>,
    pub(super) listener: Arc<Listener>,
    handle: OwnedHandle,
}

#[derive(Debug, Default)]
struct Work {
    /// Made by the first read or write.
    operation: Option<Operation>,
    /// What was read and not yet taken.
    unread: std::ops::Range<usize>,
    is_ended: bool,
    binding: Binding,
}

/// Which port the pipe is bound to.
#[derive(Debug, Default)]
enum Binding {
    #[default]
    None,
    Ours {
        _key: PortKey,
    },
    /// To the port of another library.
    Foreign,
}

impl PipeCore {
    pub(super) fn new(handle: OwnedHandle) -> Self {
        Self {
            work: Mutex::default(),
            listener: Arc::default(),
            handle,
        }
    }

    pub(super) fn handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }

    /// Has completions reported to the listener. Fails if the pipe is bound to the port of another
    /// library.
    pub(super) fn bind(&self) -> io::Result<()> {
        let mut work = lock(&self.work);
        match work.binding {
            Binding::Ours { .. } => Ok(()),
            Binding::Foreign => Err(io::ErrorKind::Unsupported.into()),
            Binding::None => {
                let bound = Port::get().and_then(|port| port.bind(self.handle(), &self.listener));
                match bound {
                    Ok(key) => {
                        work.binding = Binding::Ours { _key: key };
                        Ok(())
                    }
                    Err(error) => {
                        work.binding = Binding::Foreign;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Reads what there is now; zero at the end.
    pub(super) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut work = lock(&self.work);
        work.fill(self.handle())?;
        let count = bytes.len().min(work.unread.len());
        bytes[..count].copy_from_slice(&work.unread_bytes()[..count]);
        work.unread.start += count;
        Ok(count)
    }

    /// Takes so many bytes as are written now or soon, unless earlier ones are in flight. None are
    /// taken of none: then it is only looked whether all were written.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut work = lock(&self.work);
        if work.is_in_flight(self.handle())? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let posting = work.posting();
        work.operation()?.begin_write(self.handle(), bytes, posting)
    }

    /// How many bytes of a write are in flight, and may never arrive.
    pub(super) fn bytes_in_flight(&self) -> usize {
        let mut work = lock(&self.work);
        match work.is_in_flight(self.handle()) {
            Ok(true) => work
                .operation
                .as_ref()
                .and_then(Operation::in_flight)
                .unwrap_or(0),
            Ok(false) | Err(_) => 0,
        }
    }

    /// Looks, without taking anything.
    pub(super) fn look(&self) -> Readiness {
        let mut work = lock(&self.work);
        let unread = |is_hung_up| Readiness {
            is_ready: true,
            is_hung_up,
        };
        if work
            .operation
            .as_ref()
            .is_some_and(|one| one.in_flight().is_some())
        {
            return match work.fill(self.handle()) {
                Ok(()) => unread(work.is_ended),
                Err(error) => Readiness {
                    is_ready: error.kind() != io::ErrorKind::WouldBlock,
                    is_hung_up: false,
                },
            };
        }
        if work.is_ended || !work.unread.is_empty() {
            return unread(work.is_ended);
        }
        match available(self.handle()) {
            Ok(count) => Readiness {
                is_ready: count > 0,
                is_hung_up: false,
            },
            Err(error) => unread(is_hung_up(&error)),
        }
    }
}

impl Lingering for PipeCore {
    fn is_writing(&self) -> bool {
        self.bytes_in_flight() > 0
    }
}

impl Drop for PipeCore {
    fn drop(&mut self) {
        if let Some(operation) = &mut lock(&self.work).operation {
            operation.cancel(self.handle.as_handle());
        }
    }
}

impl Work {
    const fn posting(&self) -> Posting {
        match self.binding {
            Binding::Ours { .. } => Posting::ToPort,
            Binding::None | Binding::Foreign => Posting::Nowhere,
        }
    }

    fn operation(&mut self) -> io::Result<&mut Operation> {
        match &mut self.operation {
            Some(operation) => Ok(operation),
            none => Ok(none.insert(Operation::new()?)),
        }
    }

    /// Whether a write is in flight. Tells how the last one failed.
    fn is_in_flight(&mut self, pipe: BorrowedHandle<'_>) -> io::Result<bool> {
        match &mut self.operation {
            Some(operation) if operation.in_flight().is_some() => {
                Ok(operation.result(pipe)?.is_none())
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Sees to it that something is there to be taken, or the end.
    fn fill(&mut self, pipe: BorrowedHandle<'_>) -> io::Result<()> {
        while self.unread.is_empty() && !self.is_ended {
            let posting = self.posting();
            let operation = self.operation()?;
            let outcome = if operation.in_flight().is_some() {
                operation.result(pipe)
            } else {
                operation.begin_read(pipe, posting).map(|()| Some(0))
            };
            match outcome {
                // A read of nothing is not the end: the child wrote nothing.
                Ok(Some(count)) => self.unread = 0..count,
                Ok(None) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) if is_hung_up(&error) => self.is_ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unread_bytes(&self) -> &[u8] {
        let operation = self.operation.as_ref();
        operation.map_or(&[], |operation| {
            &operation.bytes(self.unread.end)[self.unread.start..]
        })
    }
}

/// How many bytes wait in a pipe.
fn available(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut count = 0;
    let none = ptr::null_mut();
    // SAFETY: no buffer is given; the number is written to memory of ours.
    let done = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            none,
            &raw mut count,
            none,
        )
    };
    check(done).map(|()| count)
}
