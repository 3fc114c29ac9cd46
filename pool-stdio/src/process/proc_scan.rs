//! Looks for living processes under `/proc`, on a thread of its own.
//!
//! A look reads every process of the system and may block: the kernel makes the reader of a stuck
//! process's environment wait. So the custodian does not look; it asks, and the ladder goes on by
//! its deadlines if the answer does not come.

use std::ffi::OsString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::process::custodian::{Custodian, Message, WardId};
use crate::process::once::lock;
use crate::process::signal::Signal;
use crate::process::sys::{Number, Root, Scanner};

/// One look to be made. There are never more of them than two per child under termination.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) root: Arc<Root>,
    pub(crate) number: Number,
    pub(crate) cookie: Option<OsString>,
    /// For what carries the cookie and is not in the group.
    pub(crate) signals: &'static [Signal],
    /// Who wants to know, and under which ticket.
    pub(crate) answer: Option<(WardId, u64)>,
}

/// The way to the thread, which is started by the first sweep.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    queue: Mutex<Option<Sender<Sweep>>>,
}

impl Sweeper {
    /// Whether the sweep will be made.
    pub(crate) fn post(&self, custodian: &Arc<Custodian>, sweep: Sweep) -> bool {
        let mut queue = lock(&self.queue);
        if queue.is_none() {
            let (sender, receiver) = channel();
            let custodian = Arc::clone(custodian);
            let thread = thread::Builder::new().name("stdio-sweeper".into());
            if thread
                .spawn(move || sweep_all(&receiver, &custodian))
                .is_err()
            {
                return false;
            }
            *queue = Some(sender);
        }
        queue
            .as_ref()
            .is_some_and(|queue| queue.send(sweep).is_ok())
    }
}

fn sweep_all(sweeps: &Receiver<Sweep>, custodian: &Arc<Custodian>) {
    for Sweep {
        root,
        number,
        cookie,
        signals,
        answer,
    } in sweeps
    {
        let Some((ward, ticket)) = answer else {
            if let Some(cookie) = &cookie {
                Scanner::strike(&root, number, cookie, signals);
            }
            continue;
        };
        let others = Scanner::scan(&root, number, cookie.as_deref(), signals);
        // Order: the root's descriptor is let go before the answer can end the termination.
        drop(root);
        custodian.post(Message::Seen {
            ward,
            ticket,
            others,
        });
    }
}
