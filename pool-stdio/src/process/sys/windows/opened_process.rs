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
        let access = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        // SAFETY: the call takes integers.
        let opened = unsafe { OpenProcess(access, 0, pid) };
        if opened.is_null() {
            let error = io::Error::last_os_error();
            return match code_of(&error) {
                Some(ERROR_INVALID_PARAMETER) => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the handle was just made for us and has no other owner.
        let process = unsafe { OwnedHandle::from_raw_handle(opened) };
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_foreign_process_is_seen_by_all_who_wait_for_it() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is no child of this layer"
        )]
        let spawned = Command::new("cmd.exe").stdin(Stdio::piped()).spawn();
        let mut process = spawned.unwrap();
        let foreign = ForeignProcess::of(process.id()).unwrap().unwrap();
        let mut ended = Box::pin(foreign.ended());
        tokio::select! {
            biased;
            () = &mut ended => panic!("it lives"),
            () = tokio::task::yield_now() => {}
        }
        process.kill().unwrap();
        tokio::join!(ended, foreign.ended());
        // Its handle still means it.
        let late = ForeignProcess::of(process.id()).unwrap().unwrap();
        late.ended().await;
        process.wait().unwrap();
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
}
