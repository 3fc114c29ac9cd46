//! What errors of Windows mean.

use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_EXE_FORMAT, ERROR_BAD_NETPATH, ERROR_BROKEN_PIPE,
    ERROR_COMMITMENT_LIMIT, ERROR_ELEVATION_REQUIRED, ERROR_EXE_MACHINE_TYPE_MISMATCH,
    ERROR_FILE_NOT_FOUND, ERROR_FILENAME_EXCED_RANGE, ERROR_INTERNAL_ERROR, ERROR_IO_DEVICE,
    ERROR_NETNAME_DELETED, ERROR_NO_DATA, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_OUTOFMEMORY, ERROR_PATH_NOT_FOUND, ERROR_PIPE_NOT_CONNECTED, ERROR_SEM_TIMEOUT,
    ERROR_SHARING_VIOLATION, ERROR_TOO_MANY_OPEN_FILES, ERROR_VIRUS_INFECTED, WIN32_ERROR,
};

use crate::process::sys::OsErrorKind;

pub(crate) fn os_error_kind(error: &io::Error) -> OsErrorKind {
    match code_of(error) {
        Some(ERROR_SHARING_VIOLATION) => OsErrorKind::Busy,
        // Of a start: the process could not be made just now.
        Some(ERROR_INTERNAL_ERROR) => OsErrorKind::ProcessLimit,
        Some(ERROR_TOO_MANY_OPEN_FILES) => OsErrorKind::ProcessDescriptors,
        Some(
            ERROR_NOT_ENOUGH_MEMORY
            | ERROR_OUTOFMEMORY
            | ERROR_NO_SYSTEM_RESOURCES
            | ERROR_COMMITMENT_LIMIT,
        ) => OsErrorKind::Memory,
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => OsErrorKind::NotFound,
        Some(
            ERROR_ACCESS_DENIED
            | ERROR_BAD_EXE_FORMAT
            | ERROR_EXE_MACHINE_TYPE_MISMATCH
            | ERROR_ELEVATION_REQUIRED
            | ERROR_VIRUS_INFECTED,
        ) => OsErrorKind::NotExecutable,
        Some(ERROR_FILENAME_EXCED_RANGE) => OsErrorKind::ArgumentsTooLong,
        Some(ERROR_IO_DEVICE | ERROR_BAD_NETPATH | ERROR_NETNAME_DELETED | ERROR_SEM_TIMEOUT) => {
            OsErrorKind::Storage
        }
        _ => OsErrorKind::Other,
    }
}

/// The number of an error of the system.
pub(super) fn code_of(error: &io::Error) -> Option<WIN32_ERROR> {
    error.raw_os_error().map(i32::cast_unsigned)
}

/// The error of this number.
pub(super) fn error_of(code: WIN32_ERROR) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

/// A length as the system takes it.
pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether the other end of a pipe is closed.
pub(super) fn is_hung_up(error: &io::Error) -> bool {
    matches!(
        code_of(error),
        Some(ERROR_BROKEN_PIPE | ERROR_NO_DATA | ERROR_PIPE_NOT_CONNECTED)
    )
}

/// The result of a call that returns zero when it fails.
pub(super) fn check(done: windows_sys::core::BOOL) -> io::Result<()> {
    if done == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
