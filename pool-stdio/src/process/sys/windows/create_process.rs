//! Starts children with `CreateProcessW`.
//!
//! Two attributes decide: the list of jobs, so that a child is in its job before its first instruction
//! and nothing is suspended, resumed, or left behind half-started; and the list of handles, so that a
//! child inherits its three and no other, whatever other threads start at the same time. The standard
//! library offers neither, so the command line and the environment are made here too.

#![expect(
    unsafe_code,
    reason = "the standard library has no attributes for a start"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString, c_void};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_FILENAME_EXCED_RANGE, HANDLE, MAX_PATH};
use windows_sys::Win32::System::Console::GetConsoleCP;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT, CreateProcessW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, InitializeProcThreadAttributeList,
    LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROC_THREAD_ATTRIBUTE_JOB_LIST, PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW,
    STARTUPINFOW, UpdateProcThreadAttribute,
};

use super::async_ends::PipeEnd;
use super::command_line::{batch_line, program_line};
use super::job::Job;
use super::pipe_pair::{Direction, null_output, own_stderr, pipe};
use super::process_root::Root;
use super::win_errors::{check, error_of, length};
use crate::process::signal::Signal;
use crate::process::sys::lookup::is_batch;
use crate::process::sys::spawn::{Place, Start, StartError, StderrEnd, StdoutEnd};
use crate::process::sys::{Delivery, PidState};

/// A started child before anything is known of it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) stdin: PipeEnd,
    pub(crate) stdout: Option<PipeEnd>,
    pub(crate) stderr: Option<PipeEnd>,
    root: Root,
}

impl Spawned {
    /// Our ends never block.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) const fn unblock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Ends a child that nothing else knows yet.
    pub(crate) fn abandon(&self) {
        let (Delivery::Sent
        | Delivery::NoReceiver
        | Delivery::NoCounterpart
        | Delivery::Refused(_)) = self.root.signal_group(Signal::Kill, PidState::Held);
        // If it takes longer, its job ends it when its last handle is closed.
        let (true | false) = self.root.has_exited_within(ABANDON_MILLIS);
    }
}

impl Root {
    /// The child that was just started.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn of(spawned: &Spawned) -> io::Result<Self> {
        Ok(spawned.root.clone())
    }
}

/// Starts a child with a pipe for stdin.
pub(crate) fn spawn(start: &Start<'_>) -> Result<Spawned, StartError> {
    if start.place == Place::Session {
        let unsupported = io::ErrorKind::Unsupported;
        return Err(io::Error::new(unsupported, "no sessions on this system").into());
    }
    if let Some(directory) = start.directory {
        // Asked for here, so that a failure is known to be the directory's.
        let is_dir = std::fs::metadata(directory).map(|metadata| metadata.is_dir());
        let found = is_dir.and_then(|is_dir| match is_dir {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        found.map_err(StartError::Directory)?;
    }
    let (stdin, child_stdin) = pipe(Direction::ToChild)?;
    let (stdout, child_stdout) = match start.stdout {
        StdoutEnd::Pipe => {
            let (ours, theirs) = pipe(Direction::FromChild)?;
            (Some(ours), theirs)
        }
        StdoutEnd::Null => (None, null_output()?),
    };
    let (stderr, child_stderr) = match start.stderr {
        StderrEnd::Pipe => {
            let (ours, theirs) = pipe(Direction::FromChild)?;
            (Some(ours), theirs)
        }
        StderrEnd::Inherited => match own_stderr() {
            Some(theirs) => (None, theirs),
            None => (None, null_output()?),
        },
        StderrEnd::Null => (None, null_output()?),
    };
    let job = Job::new(start.scope, start.ends_with_host, start.limits)?;
    let standard = [child_stdin, child_stdout, child_stderr];
    let (pid, process, has_console) = create(start, &job, &standard)?;
    Ok(Spawned {
        pid,
        stdin,
        stdout,
        stderr,
        root: Root::new(pid, process, job, has_console),
    })
}

fn create(
    start: &Start<'_>,
    job: &Job,
    standard: &[OwnedHandle; 3],
) -> io::Result<(u32, OwnedHandle, bool)> {
    let (program, mut line) = command_line(start)?;
    let program = nul_terminated(program.as_os_str());
    let environment = environment_block(start.environment);
    let directory = start.directory.map(|path| nul_terminated(path.as_os_str()));
    let inherited = standard.each_ref().map(AsRawHandle::as_raw_handle);
    let jobs = [job.handle().as_raw_handle()];
    let mut attributes = Attributes::new()?;
    attributes.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &inherited)?;
    attributes.set(PROC_THREAD_ATTRIBUTE_JOB_LIST, &jobs)?;

    let [stdin, stdout, stderr] = inherited;
    let info = STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: length(size_of::<STARTUPINFOEXW>()),
            dwFlags: STARTF_USESTDHANDLES,
            hStdInput: stdin,
            hStdOutput: stdout,
            hStdError: stderr,
            ..STARTUPINFOW::default()
        },
        lpAttributeList: attributes.as_ptr(),
    };
    // SAFETY: the call takes nothing.
    let has_console = unsafe { GetConsoleCP() } != 0;
    let mut flags =
        CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT | CREATE_NEW_PROCESS_GROUP;
    if !has_console {
        // A program without a window would show one for the child.
        flags |= CREATE_NO_WINDOW;
    }
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: the strings end with zero, the environment with two; all of it, and the attributes,
    // live during the call. Only the command line is written to, and it is ours.
    let done = unsafe {
        CreateProcessW(
            program.as_ptr(),
            line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            1,
            flags,
            environment.as_ptr().cast(),
            directory.as_ref().map_or(ptr::null(), Vec::as_ptr).cast(),
            &raw const info.StartupInfo,
            &raw mut made,
        )
    };
    check(done)?;
    // SAFETY: the handle was just made for us and has no other owner.
    let process = unsafe { OwnedHandle::from_raw_handle(made.hProcess) };
    // SAFETY: the same.
    drop(unsafe { OwnedHandle::from_raw_handle(made.hThread) });
    Ok((made.dwProcessId, process, has_console))
}

/// The program that the system is to load, and its command line.
fn command_line(start: &Start<'_>) -> io::Result<(PathBuf, Vec<u16>)> {
    let program: Vec<u16> = start.program.as_os_str().encode_wide().collect();
    let args = start.args.iter().map(|arg| arg.encode_wide().collect());
    let args: Vec<Vec<u16>> = args.collect();
    let (loaded, mut line) = if is_batch(start.program) {
        let line = batch_line(&program, &args);
        let line = line.ok_or(io::ErrorKind::InvalidInput)?;
        (system_directory()?.join("cmd.exe"), line)
    } else {
        let name = start.arg0.map(|name| name.encode_wide().collect());
        let line = program_line(&name.unwrap_or(program), &args);
        (
            start.program.to_owned(),
            line.ok_or(io::ErrorKind::InvalidInput)?,
        )
    };
    if line.len() > LINE_MAX {
        return Err(error_of(ERROR_FILENAME_EXCED_RANGE));
    }
    line.push(0);
    Ok((loaded, line))
}

fn system_directory() -> io::Result<PathBuf> {
    let mut path = [0_u16; MAX_PATH as usize];
    // SAFETY: the path is ours, and as long as is said.
    let count = unsafe { GetSystemDirectoryW(path.as_mut_ptr(), MAX_PATH) };
    match path.get(..count as usize) {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(OsString::from_wide(path))),
        _ => Err(io::Error::last_os_error()),
    }
}

fn nul_terminated(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// Sorted without regard to case, as the system expects it.
fn environment_block(variables: &BTreeMap<OsString, OsString>) -> Vec<u16> {
    let mut sorted: Vec<_> = variables.iter().collect();
    sorted.sort_by_cached_key(|(name, _)| name.to_ascii_uppercase());
    let mut block = Vec::new();
    for (name, value) in sorted {
        block.extend(name.encode_wide());
        block.push(u16::from(b'='));
        block.extend(value.encode_wide());
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    block
}

/// What the system does besides, at the start.
struct Attributes {
    /// In words, so that it is aligned.
    list: Vec<usize>,
}

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut bytes = 0;
        // SAFETY: without a list the call only says how long one is.
        let (0 | _) = unsafe {
            InitializeProcThreadAttributeList(ptr::null_mut(), ATTRIBUTES, 0, &raw mut bytes)
        };
        let mut list = vec![0; bytes.div_ceil(size_of::<usize>())];
        // SAFETY: the list is as long as the system wants it.
        let done = unsafe {
            InitializeProcThreadAttributeList(
                list.as_mut_ptr().cast(),
                ATTRIBUTES,
                0,
                &raw mut bytes,
            )
        };
        check(done)?;
        Ok(Self { list })
    }

    fn as_ptr(&mut self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.list.as_mut_ptr().cast::<c_void>()
    }

    /// The handles must live as long as this.
    fn set(&mut self, attribute: u32, handles: &[HANDLE]) -> io::Result<()> {
        // SAFETY: the list was initialized with room for it, and the caller keeps the handles.
        let done = unsafe {
            UpdateProcThreadAttribute(
                self.as_ptr(),
                0,
                attribute as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        check(done)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list was initialized, and is not used any more.
        unsafe { DeleteProcThreadAttributeList(self.as_ptr()) };
    }
}

const ATTRIBUTES: u32 = 2;
/// Without the zero at its end.
const LINE_MAX: usize = 32_766;
const ABANDON_MILLIS: u32 = 5_000;

/// A shell that reads its stdin until that ends, of which the custodian knows nothing.
#[cfg(test)]
pub(super) fn start_shell() -> Spawned {
    use crate::process::sys::spawn::{Mask, StartLimits};
    use crate::process::terminate::KillScope;
    let program = system_directory().unwrap().join("cmd.exe");
    let environment = std::env::vars_os().collect();
    let start = Start {
        program: &program,
        arg0: None,
        args: &[],
        environment: &environment,
        directory: None,
        stdout: StdoutEnd::Null,
        stderr: StderrEnd::Null,
        place: Place::Group,
        mask: Mask::None,
        scope: KillScope::Group,
        limits: StartLimits::default(),
        ends_with_host: true,
    };
    spawn(&start).unwrap()
}

#[cfg(test)]
mod tests {
    use super::super::pipe_core::PipeCore;
    use super::*;

    /// As if another thread started a child at this moment: that one's end of a pipe is open here, and can be
    /// inherited. No test of this program starts a process by the standard library, which would let it inherit that.
    #[test]
    fn a_child_does_not_inherit_the_pipes_of_one_that_is_started_at_the_same_time() {
        let (ours, theirs) = pipe(Direction::FromChild).unwrap();
        let child = start_shell();
        drop(theirs);
        assert!(PipeCore::look(&ours).is_hung_up, "the child holds it");
        assert!(!child.root.is_dead());
        child.abandon();
    }
}
