//! The pipes of one child: our ends are overlapped, and the child's ends are what every program
//! expects.
//!
//! Anonymous pipes cannot be overlapped, so these have names, which nothing else can guess or open:
//! there is one instance, and the only client is connected before the name is given away.

#![expect(unsafe_code, reason = "the standard library has no named pipes")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, GENERIC_READ, GENERIC_WRITE, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ,
    FILE_SHARE_WRITE, OPEN_EXISTING, PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::async_ends::PipeEnd;
use super::overlapped::BUFFER_BYTES;
use super::pipe_core::PipeCore;
use super::win_errors::{check, length};

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToChild,
    FromChild,
}

/// Our end of a new pipe, and the child's, which can be inherited.
pub(super) fn pipe(direction: Direction) -> io::Result<(PipeEnd, OwnedHandle)> {
    let name = wide(&unique_name());
    let (ours, theirs) = match direction {
        Direction::ToChild => (PIPE_ACCESS_OUTBOUND, GENERIC_READ),
        Direction::FromChild => (PIPE_ACCESS_INBOUND, GENERIC_WRITE),
    };
    // SAFETY: the name ends with zero, and there are no attributes.
    let server = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            ours | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            length(BUFFER_BYTES),
            length(BUFFER_BYTES),
            0,
            ptr::null(),
        )
    };
    let server = owned(server)?;
    let client = open(&name, theirs)?;
    Ok((Arc::new(PipeCore::new(server)), client))
}

/// What takes all and gives nothing.
pub(super) fn null_output() -> io::Result<OwnedHandle> {
    open(&wide("NUL"), GENERIC_WRITE)
}

/// A copy of our stderr that can be inherited; `None` if there is none.
pub(super) fn own_stderr() -> Option<OwnedHandle> {
    // SAFETY: the call takes an integer.
    let stderr = unsafe { GetStdHandle(STD_ERROR_HANDLE) };
    if stderr.is_null() || stderr == INVALID_HANDLE_VALUE {
        return None;
    }
    // SAFETY: it is used for one call. Whoever closes it meanwhile makes that fail.
    let stderr = unsafe { BorrowedHandle::borrow_raw(stderr) };
    // SAFETY: the pseudo handle of this process needs no closing.
    let own = unsafe { GetCurrentProcess() };
    let mut copy = ptr::null_mut();
    // SAFETY: the handles are open, and the copy is written to memory of ours.
    let done = unsafe {
        DuplicateHandle(
            own,
            stderr.as_raw_handle(),
            own,
            &raw mut copy,
            0,
            1,
            DUPLICATE_SAME_ACCESS,
        )
    };
    check(done).ok()?;
    owned(copy).ok()
}

fn open(name: &[u16], access: u32) -> io::Result<OwnedHandle> {
    let inheritable = SECURITY_ATTRIBUTES {
        nLength: length(size_of::<SECURITY_ATTRIBUTES>()),
        lpSecurityDescriptor: ptr::null_mut(),
        bInheritHandle: 1,
    };
    // SAFETY: the name ends with zero, and the attributes live during the call.
    let opened = unsafe {
        CreateFileW(
            name.as_ptr(),
            access,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            &raw const inheritable,
            OPEN_EXISTING,
            0,
            ptr::null_mut(),
        )
    };
    owned(opened)
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made for us and has no other owner.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let chance = RandomState::new().hash_one(number);
    let pid = std::process::id();
    format!(r"\\.\pipe\pool-stdio-{pid}-{number}-{chance:016x}")
}

/// With the zero at its end.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
