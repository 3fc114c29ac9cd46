//! Scans `/proc` for living processes of a child, on a thread of its own.
//!
//! A scan reads every process of the system and can block: the kernel makes the reader of a stuck
//! process's environment wait. So the custodian does not scan; it posts a request, and the ladder
//! goes on by its deadlines if the answer does not come.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::cookie::Cookie;
use super::lock::lock;
use super::record::ChildId;
use super::signal::Signal;
use super::sys::{PidState, Root, Scanner};
use super::terminate::Others;

/// One scan to be made. There are never more of them than two per child under termination.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) root: Arc<Root>,
    pub(crate) pid_state: PidState,
    pub(crate) cookie: Option<Cookie>,
    /// Sent to each process that carries the cookie and is not in the group.
    pub(crate) signals: &'static [Signal],
    /// Whether there is to be an answer.
    pub(crate) key: Option<ScanKey>,
}

/// Which scan an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanKey {
    pub(crate) child: ChildId,
    /// Counts the scans of one child.
    pub(crate) number: u64,
}

/// What a scan found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanAnswer {
    pub(crate) key: ScanKey,
    pub(crate) others: Others,
}

/// The way to the thread, which is started by the first scan.
pub(crate) struct ScanThread<A> {
    queue: Mutex<Option<Sender<Scan>>>,
    /// Called on the thread.
    answer: A,
}

impl<A: Fn(ScanAnswer) + Clone + Send + 'static> ScanThread<A> {
    pub(crate) const fn new(answer: A) -> Self {
        Self {
            queue: Mutex::new(None),
            answer,
        }
    }

    /// Gives the scan back if there is no thread to make it.
    pub(crate) fn post(&self, scan: Scan) -> Result<(), Scan> {
        let mut queue = lock(&self.queue);
        if queue.is_none() {
            *queue = start(self.answer.clone());
        }
        match &*queue {
            Some(queue) => queue.send(scan).map_err(|refused| refused.0),
            None => Err(scan),
        }
    }
}

fn start(answer: impl Fn(ScanAnswer) + Send + 'static) -> Option<Sender<Scan>> {
    let (sender, receiver) = channel();
    let thread = thread::Builder::new().name("stdio-scan".into());
    let started = thread.spawn(move || run(&receiver, answer));
    started.is_ok().then_some(sender)
}

fn run(scans: &Receiver<Scan>, answer: impl Fn(ScanAnswer)) {
    for Scan {
        root,
        pid_state,
        cookie,
        signals,
        key,
    } in scans
    {
        let Some(key) = key else {
            if let Some(cookie) = &cookie {
                Scanner::signal_marked(&root, pid_state, cookie, signals);
            }
            continue;
        };
        let others = Scanner::scan(&root, pid_state, cookie.as_ref(), signals);
        // Order: the root's descriptor is closed before the answer can end the termination.
        drop(root);
        answer(ScanAnswer { key, others });
    }
}
