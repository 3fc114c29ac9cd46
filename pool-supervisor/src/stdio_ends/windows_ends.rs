//! Stdin and stdout on Windows, where a read or write returns when it is done, and a pipe does not show
//! whether it has room.

use std::fs::File;
use std::io::{self, Read, Write, stdin, stdout};
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hearing::Hearing;

/// Whether a write to stdout has begun and is not over.
static IS_WRITING: AtomicBool = AtomicBool::new(false);

/// Reads from stdin. Zero at its end.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn read(buffer: &mut [u8]) -> io::Result<usize> {
    static STDIN: OnceLock<File> = OnceLock::new();
    file(&STDIN, stdin().as_handle())?.read(buffer)
}

/// Writes some of it to stdout, and returns how many bytes.
pub(super) fn write(bytes: &[u8]) -> io::Result<usize> {
    static STDOUT: OnceLock<File> = OnceLock::new();
    let mut file = file(&STDOUT, stdout().as_handle())?;
    IS_WRITING.store(true, Ordering::Relaxed);
    let written = file.write(bytes);
    IS_WRITING.store(false, Ordering::Relaxed);
    written
}

/// What stdout shows: a write waits for room, and for nothing else.
pub(super) fn hearing() -> Hearing {
    match IS_WRITING.load(Ordering::Relaxed) {
        true => Hearing::Full,
        false => Hearing::Open,
    }
}

/// The same without a buffer, and without a change of line ends or letters.
fn file<'a>(kept: &'a OnceLock<File>, handle: BorrowedHandle<'_>) -> io::Result<&'a File> {
    if let Some(file) = kept.get() {
        return Ok(file);
    }
    let file = File::from(handle.try_clone_to_owned()?);
    Ok(kept.get_or_init(|| file))
}
