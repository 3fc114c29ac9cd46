//! Starts children with `posix_spawn` and what Apple has added to it.
//!
//! A child begins with an empty signal mask, with every signal at its default, and with no descriptor
//! but 0, 1 and 2: the system closes all that is not named, also what another thread opens meanwhile.

#![expect(
    unsafe_code,
    reason = "nix's module has no session, no directory and no closing of descriptors"
)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{AccessFlags, access};

use crate::process::sys::spawn::{Mask, Place, Start, StartError, StderrEnd, StdoutEnd};
use crate::process::sys::spawn_call::{SpawnCall, check};
use crate::process::sys::spawned::Spawned;

/// Starts a child with a pipe for stdin.
pub(crate) fn spawn(start: &Start<'_>) -> Result<Spawned, StartError> {
    let directory = start.directory.map(directory).transpose()?;
    let (child_stdin, stdin) = pipe()?;
    let (stdout, child_stdout) = match start.stdout {
        StdoutEnd::Pipe => {
            let (ours, theirs) = pipe()?;
            (Some(ours), Some(theirs))
        }
        StdoutEnd::Null => (None, None),
    };
    let (stderr, child_stderr) = match start.stderr {
        StderrEnd::Pipe => {
            let (ours, theirs) = pipe()?;
            (Some(ours), Some(theirs))
        }
        StderrEnd::Inherited | StderrEnd::Null => (None, None),
    };
    let mut actions = FileActions::new()?;
    actions.duplicate(child_stdin.as_fd(), 0)?;
    match &child_stdout {
        Some(theirs) => actions.duplicate(theirs.as_fd(), 1)?,
        None => actions.open_null(1)?,
    }
    match &child_stderr {
        Some(theirs) => actions.duplicate(theirs.as_fd(), 2)?,
        None if start.stderr == StderrEnd::Inherited && has_stderr() => actions.keep_stderr()?,
        None => actions.open_null(2)?,
    }
    if let Some(directory) = &directory {
        actions.enter(directory)?;
    }
    let attributes = Attributes::new(start.place, start.mask)?;
    let call = SpawnCall::new(start)?;
    let pid = call.make(&raw const actions.inner, &raw const attributes.inner)?;
    Ok(Spawned {
        pid,
        stdin,
        stdout,
        stderr,
    })
}

/// Looked at here, so that a failure is known to be the directory's.
fn directory(path: &Path) -> Result<CString, StartError> {
    let found = std::fs::metadata(path).and_then(|found| match found.is_dir() {
        true => Ok(access(path, AccessFlags::X_OK)?),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(StartError::Directory)?;
    Ok(CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)?)
}

/// A pipe, its end for reading first. Neither end is one of the first three descriptors, which would
/// be in the way of the child's. A process that other code starts at this moment can inherit it: there is
/// no call that makes a pipe with close-on-exec.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    Ok((above_standard(read)?, above_standard(write)?))
}

/// A copy with close-on-exec, of a number that no child uses.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the descriptor was just made for us and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn has_stderr() -> bool {
    // SAFETY: it is used for one call that only asks whether it is open.
    let stderr = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    fcntl(stderr, FcntlArg::F_GETFD).is_ok()
}

/// What the child does with descriptors before it executes the program.
struct FileActions {
    inner: libc::posix_spawn_file_actions_t,
}

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut inner = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(inner.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        let inner = unsafe { inner.assume_init() };
        Ok(Self { inner })
    }

    fn duplicate(&mut self, from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
        let from = from.as_raw_fd();
        // SAFETY: the actions were initialized; the rest are integers.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.inner, from, to) })
    }

    fn keep_stderr(&mut self) -> io::Result<()> {
        // SAFETY: the actions were initialized; the rest is an integer.
        check(unsafe {
            posix_spawn_file_actions_addinherit_np(&raw mut self.inner, libc::STDERR_FILENO)
        })
    }

    fn open_null(&mut self, to: RawFd) -> io::Result<()> {
        let path = c"/dev/null".as_ptr();
        // SAFETY: the actions were initialized, and the path lives for ever.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.inner, to, path, libc::O_WRONLY, 0)
        })
    }

    fn enter(&mut self, directory: &CString) -> io::Result<()> {
        // SAFETY: the actions were initialized, and the call copies the path.
        check(unsafe {
            libc::posix_spawn_file_actions_addchdir_np(&raw mut self.inner, directory.as_ptr())
        })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: they were initialized, and are not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.inner) };
    }
}

/// What the child begins with.
struct Attributes {
    inner: libc::posix_spawnattr_t,
}

impl Attributes {
    fn new(place: Place, mask: Mask) -> io::Result<Self> {
        let mut inner = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawnattr_init(inner.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        let inner = unsafe { inner.assume_init() };
        let mut attributes = Self { inner };
        attributes.set_signals(mask)?;
        // One that leads a session leads its group.
        let leads = match place {
            Place::Group => libc::POSIX_SPAWN_SETPGROUP,
            Place::Session => POSIX_SPAWN_SETSID,
        };
        let signals = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = leads | signals | libc::POSIX_SPAWN_CLOEXEC_DEFAULT;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        let attr = &raw mut attributes.inner;
        // SAFETY: the attributes were initialized; the rest is an integer. A group of 0 is an own one,
        // as it is without being set.
        check(unsafe { libc::posix_spawnattr_setflags(attr, flags) })?;
        Ok(attributes)
    }

    fn set_signals(&mut self, mask: Mask) -> io::Result<()> {
        // A set of signals is an integer, in which a bit stands for a signal.
        let all = !0;
        let mask: libc::sigset_t = match mask {
            Mask::None => 0,
            Mask::All => all,
        };
        // Nobody can change what these two do.
        let changeable = all & !(bit(libc::SIGKILL) | bit(libc::SIGSTOP));
        let attr = &raw mut self.inner;
        // SAFETY: the attributes and the set were initialized.
        check(unsafe { libc::posix_spawnattr_setsigmask(attr, &raw const mask) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(attr, &raw const changeable) })
    }
}

const fn bit(signal: libc::c_int) -> libc::sigset_t {
    1 << (signal - 1)
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialized, and are not used any more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.inner) };
    }
}

unsafe extern "C" {
    /// Keeps a descriptor that would be closed. Since macOS 10.7.
    fn posix_spawn_file_actions_addinherit_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        fd: libc::c_int,
    ) -> libc::c_int;
}

/// Since macOS 10.15.
const POSIX_SPAWN_SETSID: libc::c_int = 0x400;
