//! Starts children with `posix_spawn`, with attributes that the standard library does not set.
//!
//! A child begins with an empty signal mask, with every signal at its default, and with no
//! descriptor but 0, 1 and 2, whatever this program has blocked, ignored or opened. There is no
//! fork, which costs 100 ms in a program of 3 GiB.

#![expect(
    unsafe_code,
    reason = "nix's module has no session, no directory and no closing of descriptors"
)]

#[cfg(not(target_feature = "crt-static"))]
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
#[cfg(not(target_feature = "crt-static"))]
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, access, pipe2};

use crate::process::sys::spawn::{Mask, Place, Start, StartError, StderrEnd, StdoutEnd};
use crate::process::sys::spawn_call::{SpawnCall, check};
use crate::process::sys::spawned::Spawned;
use crate::process::sys::std_spawn;

/// Starts a child with a pipe for stdin.
pub(crate) fn spawn(start: &Start<'_>) -> Result<Spawned, StartError> {
    if start.directory.is_some() && functions().add_directory.is_none() {
        // Only a fork can do it.
        return std_spawn::spawn(start);
    }
    match spawn_closing(start, Closing::Rest) {
        // Some sandboxes refuse the system call that closes the rest.
        Err(StartError::System(error))
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) =>
        {
            spawn_closing(start, Closing::Listed)
        }
        other => other,
    }
}

/// How the child's copies of our descriptors are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// All but the first three, in the child. Where the C library cannot, as `Listed`.
    Rest,
    /// Those that are open now and would be inherited. One that another thread opens at this moment
    /// is missed.
    Listed,
}

fn spawn_closing(start: &Start<'_>, closing: Closing) -> Result<Spawned, StartError> {
    let directory = start.directory.map(open_directory).transpose()?;
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
        actions.enter(directory.as_fd())?;
    }
    if closing == Closing::Listed || !actions.close_rest()? {
        for fd in inheritable() {
            match actions.close(fd) {
                // A limit that was lowered below what is open: glibc takes the number for none.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
                outcome => outcome?,
            }
        }
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

/// A pipe, its end for reading first. Neither end is one of the first three descriptors, which would
/// be in the way of the child's.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_standard(read)?, above_standard(write)?))
}

fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    let above = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the descriptor was just made for us and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(above) })
}

/// Opened here, so that a failure is known to be the directory's.
fn open_directory(path: &Path) -> Result<OwnedFd, StartError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = access(path, AccessFlags::X_OK).and_then(|()| open(path, flags, Mode::empty()));
    let opened = opened.map_err(|error| StartError::Directory(error.into()))?;
    Ok(above_standard(opened)?)
}

fn has_stderr() -> bool {
    // SAFETY: it is used for one call that only asks whether it is open.
    let stderr = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    fcntl(stderr, FcntlArg::F_GETFD).is_ok()
}

/// The descriptors that a child would inherit, but for the first three. None without a `/proc`: there a child inherits
/// them.
fn inheritable() -> Vec<RawFd> {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let open = open.flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    numbers
        .filter(|number| *number > libc::STDERR_FILENO)
        .filter(|number| {
            // SAFETY: it is used for one call that only asks for its flags.
            let fd = unsafe { BorrowedFd::borrow_raw(*number) };
            let flags = fcntl(fd, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain);
            flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC))
        })
        .collect()
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
        self.duplicate_raw(from.as_raw_fd(), to)
    }

    /// The same number twice clears its close-on-exec flag.
    fn keep_stderr(&mut self) -> io::Result<()> {
        self.duplicate_raw(libc::STDERR_FILENO, libc::STDERR_FILENO)
    }

    fn duplicate_raw(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the actions were initialized; the rest are integers.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.inner, from, to) })
    }

    fn open_null(&mut self, to: RawFd) -> io::Result<()> {
        let path = c"/dev/null".as_ptr();
        // SAFETY: the actions were initialized, and the path lives for ever.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.inner, to, path, libc::O_WRONLY, 0)
        })
    }

    fn enter(&mut self, directory: BorrowedFd<'_>) -> io::Result<()> {
        let add = functions().add_directory;
        let add = add.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the actions were initialized; the rest is an integer.
        check(unsafe { add(&raw mut self.inner, directory.as_raw_fd()) })
    }

    fn close(&mut self, fd: RawFd) -> io::Result<()> {
        // SAFETY: the actions were initialized; the rest is an integer.
        check(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut self.inner, fd) })
    }

    /// Whether the C library can.
    fn close_rest(&mut self) -> io::Result<bool> {
        let Some(add) = functions().add_close_from else {
            return Ok(false);
        };
        // SAFETY: the actions were initialized; the rest is an integer.
        check(unsafe { add(&raw mut self.inner, libc::STDERR_FILENO + 1) })?;
        Ok(true)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: they were initialized, and are not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.inner) };
    }
}

type AddAction =
    unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, libc::c_int) -> libc::c_int;

/// What not every C library has. Looked up when the program runs, so that it starts without.
#[derive(Debug, Clone, Copy)]
struct Functions {
    /// glibc 2.29, musl 1.1.24.
    add_directory: Option<AddAction>,
    /// glibc 2.34.
    add_close_from: Option<AddAction>,
}

/// In a static program nothing can be looked up, so it has what the C library had when it was built. The second one is
/// too young for that.
#[cfg(target_feature = "crt-static")]
const fn functions() -> Functions {
    unsafe extern "C" {
        fn posix_spawn_file_actions_addfchdir_np(
            actions: *mut libc::posix_spawn_file_actions_t,
            directory: libc::c_int,
        ) -> libc::c_int;
    }
    Functions {
        add_directory: Some(posix_spawn_file_actions_addfchdir_np),
        add_close_from: None,
    }
}

#[cfg(not(target_feature = "crt-static"))]
fn functions() -> Functions {
    static FOUND: OnceLock<Functions> = OnceLock::new();
    *FOUND.get_or_init(|| Functions {
        add_directory: look_up(c"posix_spawn_file_actions_addfchdir_np"),
        add_close_from: look_up(c"posix_spawn_file_actions_addclosefrom_np"),
    })
}

#[cfg(not(target_feature = "crt-static"))]
fn look_up(name: &'static CStr) -> Option<AddAction> {
    // SAFETY: the name lives for ever.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: functions of these names have this signature, in every library that has them. A null
    // pointer is `None`.
    unsafe { std::mem::transmute::<*mut libc::c_void, Option<AddAction>>(found) }
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
        // Both at once are an error: who leads a session leads its group.
        let leads = match place {
            Place::Group => libc::POSIX_SPAWN_SETPGROUP,
            Place::Session => POSIX_SPAWN_SETSID,
        };
        let signals = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(leads | signals).map_err(io::Error::other)?;
        let attr = &raw mut attributes.inner;
        // SAFETY: the attributes were initialized; the rest is an integer. A group of 0 is an own one,
        // as it is without being set.
        check(unsafe { libc::posix_spawnattr_setflags(attr, flags) })?;
        Ok(attributes)
    }

    fn set_signals(&mut self, mask: Mask) -> io::Result<()> {
        // SAFETY: a set of signals is plain data, in which a bit stands for a signal.
        let none: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // `sigfillset` leaves out two signals that the C library uses itself: they would stay ignored in
        // the child.
        // SAFETY: the memory is as large as is said.
        unsafe { all.as_mut_ptr().write_bytes(0xff, 1) };
        // SAFETY: every byte of it was written.
        let all = unsafe { all.assume_init() };
        let mask = match mask {
            Mask::None => &raw const none,
            Mask::All => &raw const all,
        };
        // SAFETY: the attributes and the set were initialized.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut self.inner, mask) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut self.inner, &raw const all) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialized, and are not used any more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.inner) };
    }
}

const POSIX_SPAWN_SETSID: libc::c_int = 0x80;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::process::Command;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;
    use crate::process::sys::spawn::StartLimits;
    use crate::process::terminate::KillScope;

    /// A limit belongs to the whole process, so this test runs again in one of its own.
    #[test]
    fn a_child_starts_though_a_descriptor_above_a_lowered_limit_is_open() {
        if std::env::var_os(ALONE).is_some() {
            return start_below_a_descriptor();
        }
        let (_, module) = module_path!().split_once("::").expect("it is in a crate");
        let name = "a_child_starts_though_a_descriptor_above_a_lowered_limit_is_open";
        let mut again = Command::new(std::env::current_exe().expect("it runs"));
        again.args(["--exact", &format!("{module}::{name}")]);
        let output = again.env(ALONE, "1").output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    fn start_below_a_descriptor() {
        const ABOVE: RawFd = 250;
        let null = File::open("/dev/null").expect("every system has it");
        fcntl(&null, FcntlArg::F_DUPFD(ABOVE)).expect("it is below the limit");
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is one");
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).expect("it can be lowered");
        assert!(inheritable().contains(&ABOVE));
        let start = Start {
            program: Path::new("/bin/cat"),
            arg0: None,
            args: &[],
            environment: &BTreeMap::new(),
            directory: None,
            stdout: StdoutEnd::Pipe,
            stderr: StderrEnd::Null,
            place: Place::Group,
            mask: Mask::None,
            scope: KillScope::Group,
            limits: StartLimits::default(),
            ends_with_host: false,
        };
        for closing in [Closing::Rest, Closing::Listed] {
            let started = spawn_closing(&start, closing);
            let child = started.unwrap_or_else(|error| panic!("{closing:?}: {error:?}"));
            let copy = format!("/proc/{}/fd/{ABOVE}", child.pid);
            let is_closed = !Path::new(&copy).exists();
            child.abandon();
            let must_be_closed = closing == Closing::Rest && functions().add_close_from.is_some();
            assert!(is_closed || !must_be_closed, "{closing:?}");
        }
    }

    const ALONE: &str = "POOL_STDIO_TEST_ALONE";
}
