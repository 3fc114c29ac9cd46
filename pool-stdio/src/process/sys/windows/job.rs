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
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOB_OBJECT_LIMIT_PROCESS_TIME, JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectBasicProcessIdList,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

use super::unix_names::resident_bytes_of;
use super::win_errors::{check, code_of, length};
use crate::process::sys::spawn::StartLimits;
use crate::process::terminate::KillScope;

/// A job object.
#[derive(Debug)]
pub(super) struct Job {
    handle: OwnedHandle,
}

impl Job {
    /// A job for a child of this scope. With `KillScope::Root` what the child starts is not a member.
    pub(super) fn new(
        scope: KillScope,
        ends_with_host: bool,
        limits: StartLimits,
    ) -> io::Result<Self> {
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
        let information = information(flags, limits);
        // SAFETY: the job is open, and the information is as long as is said.
        let done = unsafe {
            SetInformationJobObject(
                job.handle.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const information).cast(),
                length(size_of_val(&information)),
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

    /// How much memory its members occupy. What they share counts once for each. `None` if there is none.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let listed = self.members().ok()?.into_iter();
        let opened: Vec<_> = listed.filter_map(|pid| Some((pid, open(pid)?))).collect();
        // Order: listed again. The number of one that left before it was opened can mean another process; an
        // open handle keeps the number.
        let members = self.members().ok()?;
        let opened = opened.iter().filter(|(pid, _)| members.contains(pid));
        opened
            .filter_map(|(_, process)| resident_bytes_of(process.as_handle()))
            .reduce(|all, bytes| all + bytes)
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

/// What a job is told at its start.
fn information(flags: u32, limits: StartLimits) -> JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
    let mut information = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let basic = &mut information.BasicLimitInformation;
    basic.LimitFlags = flags;
    if let Some(time) = limits.cpu_time {
        // Zero would be no limit.
        let ticks = time.as_nanos().div_ceil(TICK_NANOS).max(1);
        basic.PerProcessUserTimeLimit = i64::try_from(ticks).unwrap_or(i64::MAX);
        basic.LimitFlags |= JOB_OBJECT_LIMIT_PROCESS_TIME;
    }
    if let Some(bytes) = limits.memory_bytes {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_PROCESS_MEMORY;
        information.ProcessMemoryLimit = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    information
}

fn open(pid: u32) -> Option<OwnedHandle> {
    // SAFETY: the call takes integers.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    // SAFETY: the handle was just made for us and has no other owner.
    (!process.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(process) })
}

/// Whether the process is the system's host of consoles. One that cannot be looked at is not.
fn is_console_host(pid: u32) -> bool {
    let Some(process) = open(pid) else {
        return false;
    };
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
/// What the system counts time in.
const TICK_NANOS: u128 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn limits_are_told_in_the_units_of_the_system() {
        let told = |memory_bytes, cpu_time| {
            let limits = StartLimits {
                memory_bytes,
                cpu_time,
            };
            let told = information(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, limits);
            let basic = told.BasicLimitInformation;
            let flags = basic.LimitFlags & !JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
            (
                flags,
                told.ProcessMemoryLimit,
                basic.PerProcessUserTimeLimit,
            )
        };
        let (memory, time) = (
            JOB_OBJECT_LIMIT_PROCESS_MEMORY,
            JOB_OBJECT_LIMIT_PROCESS_TIME,
        );
        assert_eq!(told(None, None), (0, 0, 0));
        assert_eq!(told(Some(1 << 33), None), (memory, 1 << 33, 0));
        let second = Some(Duration::from_secs(1));
        assert_eq!(told(None, second), (time, 0, 10_000_000));
        let hardly = Some(Duration::from_nanos(101));
        assert_eq!(told(Some(1), hardly), (memory | time, 1, 2));
        assert_eq!(told(None, Some(Duration::ZERO)), (time, 0, 1));
        assert_eq!(told(None, Some(Duration::MAX)), (time, 0, i64::MAX));
    }

    #[test]
    fn a_job_takes_limits_and_a_job_without_members_occupies_nothing() {
        let limits = StartLimits {
            memory_bytes: Some(1 << 30),
            cpu_time: Some(Duration::from_secs(10)),
        };
        let job = Job::new(KillScope::Group, true, limits).unwrap();
        assert_eq!(job.resident_bytes(), None);
        assert!(job.is_empty());
    }
}
