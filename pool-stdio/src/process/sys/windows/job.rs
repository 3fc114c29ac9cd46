//! The job object of one child: what the child and everything it starts belong to.
//!
//! Nothing leaves a job: breakaway is not allowed. With [`EndsWithHost::Yes`] the system ends all
//! members when the last handle to the job is closed, which it does itself when this program goes,
//! however it goes. Jobs nest, so this works also if this program is in a job.

#![expect(unsafe_code, reason = "the standard library has no job objects")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_MORE_DATA;
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectBasicProcessIdList,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

use super::win_errors::{check, code_of, length};
use crate::process::terminate::KillScope;

/// A job object.
#[derive(Debug)]
pub(super) struct Job {
    handle: OwnedHandle,
}

impl Job {
    /// A job for a child of this scope. With `KillScope::Root` what the child starts is not a member.
    pub(super) fn new(scope: KillScope, ends_with_host: bool) -> io::Result<Self> {
        // SAFETY: neither attributes nor a name: the call takes no pointer.
        let made = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        if made.is_null() {
            return Err(io::Error::last_os_error());
        }
        let job = Self {
            // SAFETY: the handle was just made for us and has no other owner.
            handle: unsafe { OwnedHandle::from_raw_handle(made) },
        };
        // Order: a child that crashes must not wait for a dialog that nobody sees.
        let mut flags = JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
        if ends_with_host {
            flags |= JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        }
        if scope == KillScope::Root {
            flags |= JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK;
        }
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = flags;
        // SAFETY: the job is open, and the limits are as long as is said.
        let done = unsafe {
            SetInformationJobObject(
                job.handle.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                length(size_of_val(&limits)),
            )
        };
        check(done)?;
        Ok(job)
    }

    pub(super) fn handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }

    /// Ends all members.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the job is open; the rest is an integer.
        check(unsafe { TerminateJobObject(self.handle.as_raw_handle(), KILLED) })
    }

    /// Whether no member lives.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.count(), Ok(0)) || matches!(self.members(), Ok(members) if members.is_empty())
    }

    /// How many members live, hosts of consoles among them.
    fn count(&self) -> io::Result<u32> {
        let mut found = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        // SAFETY: the job is open, and the memory is ours and as long as is said.
        let done = unsafe {
            QueryInformationJobObject(
                self.handle.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                (&raw mut found).cast(),
                length(size_of_val(&found)),
                ptr::null_mut(),
            )
        };
        check(done).map(|()| found.ActiveProcesses)
    }

    /// The process ids of those that live. The host of a console is none of them: it is a program of the
    /// system, which leaves by itself a moment after the last program that uses the console.
    pub(super) fn members(&self) -> io::Result<Vec<u32>> {
        let mut room = MEMBERS_FIRST;
        loop {
            // Two counts of 32 bits, then the ids.
            let mut list = vec![0_usize; COUNTS_WORDS + room];
            // SAFETY: the job is open, and the memory is ours and as long as is said.
            let done = unsafe {
                QueryInformationJobObject(
                    self.handle.as_raw_handle(),
                    JobObjectBasicProcessIdList,
                    list.as_mut_ptr().cast(),
                    length(size_of_val(list.as_slice())),
                    ptr::null_mut(),
                )
            };
            match check(done) {
                Err(error) if code_of(&error) == Some(ERROR_MORE_DATA) && room < MEMBERS_MAX => {
                    room *= 4;
                }
                Err(error) if code_of(&error) != Some(ERROR_MORE_DATA) => return Err(error),
                Ok(()) | Err(_) => {
                    let words = list.split_off(COUNTS_WORDS);
                    let counts = list.first().map(|word| word.to_ne_bytes());
                    let [.., listed] = counts_of(counts.unwrap_or_default());
                    let ids = words.into_iter().take(listed as usize);
                    let ids = ids.filter_map(|id| u32::try_from(id).ok());
                    return Ok(ids.filter(|pid| !is_console_host(*pid)).collect());
                }
            }
        }
    }
}

/// Whether the process is the system's host of consoles. One that cannot be looked at is not.
fn is_console_host(pid: u32) -> bool {
    // SAFETY: the call takes integers.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return false;
    }
    // SAFETY: the handle was just made for us and has no other owner.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    let mut path = [0_u16; PATH_UNITS];
    let mut units = length(PATH_UNITS);
    // SAFETY: the path is ours, and as long as is said.
    let done = unsafe {
        QueryFullProcessImageNameW(
            process.as_raw_handle(),
            PROCESS_NAME_WIN32,
            path.as_mut_ptr(),
            &raw mut units,
        )
    };
    let path = check(done).ok().and_then(|()| path.get(..units as usize));
    let path = String::from_utf16_lossy(path.unwrap_or_default());
    path.to_ascii_lowercase().ends_with(CONSOLE_HOST)
}

/// How many there are, and how many are listed.
fn counts_of(word: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

/// The exit code of what was killed here.
pub(super) const KILLED: u32 = 1;
/// The two counts before the ids fill one word: this crate supports Windows on 64 bits.
const COUNTS_WORDS: usize = 1;
const CONSOLE_HOST: &str = r"\system32\conhost.exe";
const PATH_UNITS: usize = 1024;
const MEMBERS_FIRST: usize = 64;
const MEMBERS_MAX: usize = 1 << 20;
