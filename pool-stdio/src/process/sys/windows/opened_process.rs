//! A process that is no child of ours, known by a handle of its own.

#![expect(
    unsafe_code,
    reason = "the standard library opens no process by its number"
)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;
use windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER;
use windows_sys::Win32::System::Threading::{
    GetProcessId, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
};

use super::process_root::{STILL_ACTIVE, exit_code, has_exited_within};
use super::registered_wait::{RegisteredWait, Signalled};
use super::win_errors::code_of;

/// A process whose end is waited for.
#[derive(Debug)]
pub(crate) struct ForeignProcess {
    wait: RegisteredWait<End>,
}

#[derive(Debug)]
struct End {
    process: OwnedHandle,
    has_come: Arc<watch::Sender<bool>>,
}

impl Signalled for End {
    fn handle(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }

    fn signalled(&self) {
        let has_come = Arc::clone(&self.has_come);
        // Order: tasks are woken on another thread. A waker can run any code: one that drops the wait would
        // wait here for itself.
        let wake = move || {
            has_come.send_replace(true);
        };
        let thread = thread::Builder::new().name("stdio-foreign-end".to_owned());
        if thread.spawn(wake).is_err() {
            self.has_come.send_replace(true);
        }
    }
}

impl ForeignProcess {
    /// `None` if there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        let process = match open(pid) {
            Err(error) if code_of(&error) == Some(ERROR_INVALID_PARAMETER) => return Ok(None),
            opened => opened?,
        };
        // SAFETY: the handle is open.
        let found = unsafe { GetProcessId(process.as_raw_handle()) };
        if found != pid {
            // Numbers are rounded down to a multiple of four.
            return Ok(None);
        }
        let has_come = Arc::new(watch::Sender::new(false));
        let wait = RegisteredWait::new(Arc::new(End { process, has_come }))?;
        Ok(Some(Self { wait }))
    }

    pub(crate) async fn ended(&self) {
        let mut has_come = self.wait.waiter().has_come.subscribe();
        // The sender lives as long as this does.
        let (Ok(_) | Err(_)) = has_come.wait_for(|has_come| *has_come).await;
    }
}

/// Whether a child exits or has exited, although its end may not be announced yet. Its exit code is there before.
pub(crate) fn is_leaving(pid: u32) -> bool {
    open(pid).is_ok_and(|process| {
        let process = process.as_handle();
        has_exited_within(process, 0) || exit_code(process).is_ok_and(|code| code != STILL_ACTIVE)
    })
}

fn open(pid: u32) -> io::Result<OwnedHandle> {
    let access = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
    // SAFETY: the call takes integers.
    let opened = unsafe { OpenProcess(access, 0, pid) };
    if opened.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made for us and has no other owner.
    Ok(unsafe { OwnedHandle::from_raw_handle(opened) })
}

#[cfg(test)]
mod tests {
    use super::super::create_process::start_shell;
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_foreign_process_is_seen_by_all_who_wait_for_it() {
        let shell = start_shell();
        let foreign = ForeignProcess::of(shell.pid).unwrap().unwrap();
        let mut ended = Box::pin(foreign.ended());
        tokio::select! {
            biased;
            () = &mut ended => panic!("it lives"),
            () = tokio::task::yield_now() => {}
        }
        shell.abandon();
        tokio::join!(ended, foreign.ended());
        // A handle keeps the number, so it still means the shell.
        let late = ForeignProcess::of(shell.pid).unwrap().unwrap();
        late.ended().await;
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found_at_once() {
        assert!(ForeignProcess::of(0).unwrap().is_none());
        assert!(ForeignProcess::of(u32::MAX - 3).unwrap().is_none());
        // A number besides that of a process that is there.
        assert!(
            ForeignProcess::of(std::process::id() + 1)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_child_whose_exit_is_not_announced_yet_is_leaving() {
        let shell = start_shell();
        assert!(!is_leaving(shell.pid));
        shell.abandon();
        assert!(is_leaving(shell.pid));
        // Nothing is known of a process that is not there.
        assert!(!is_leaving(0));
    }
}
