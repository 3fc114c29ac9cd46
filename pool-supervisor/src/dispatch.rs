//! What each request does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pool_stdio::{ProcessWatch, SignalError, Stop, WatchError, health};
use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;

use crate::chunk_text;
use crate::departure::{Departure, Gone};
use crate::entry::{Entry, StopCause};
use crate::life::{ChildRequest, live};
use crate::limits::{
    CHILDREN_MAX, CHUNK_BYTES_MAX, HOST_GRACE, KEPT_BYTES_TOTAL, LINE_BYTES_MAX, WRITE_BYTES_MAX,
    WRITE_BYTES_TOTAL_MAX,
};
use crate::outcome_report::{signal_names, signal_of};
use crate::protocol::{
    CancelMode, CancelParams, CancelResult, Capabilities, CloseStdinParams, DoneResult, Fault,
    FaultKind, GrantParams, Incoming, InitializeParams, InitializeResult, Limits, ListResult,
    ListedChild, Malformed, Method, PROTOCOL_VERSION, RequestId, Scope, ShutdownParams,
    SignalParams, SignalTarget, SpawnParams, StreamName, WriteParams, decode,
};
use crate::start_spec::{check, millis, settings};
use crate::supervisor::Supervisor;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Dispatch {
    supervisor: Rc<Supervisor>,
    departure: Rc<Departure>,
    is_initialized: bool,
    gone: UnboundedSender<Gone>,
    host_grace: Rc<RefCell<Duration>>,
}

impl Dispatch {
    /// `gone` is told when the host has ended; `host_grace` is what the host asks for in that case.
    pub(crate) fn new(
        supervisor: Rc<Supervisor>,
        departure: Rc<Departure>,
        gone: UnboundedSender<Gone>,
        host_grace: Rc<RefCell<Duration>>,
    ) -> Self {
        Self {
            supervisor,
            departure,
            is_initialized: false,
            gone,
            host_grace,
        }
    }

    /// Takes a line that was too long.
    pub(crate) fn too_long(&self) {
        let message = format!(
            "the line is longer than {LINE_BYTES_MAX} bytes and was skipped: cut a `write` into several"
        );
        let fault = Fault::new(FaultKind::LineTooLong, message);
        self.supervisor.complain(None, &fault);
    }

    /// Takes a line.
    pub(crate) fn line(&mut self, line: &[u8]) {
        let Incoming { id, method } = match decode(line) {
            Ok(incoming) => incoming,
            Err(Malformed { id, fault }) => return self.supervisor.complain(id.as_ref(), &fault),
        };
        if let Some(id) = &id
            && !self.supervisor.owe(id)
        {
            let message = format!("a request with the id {id} waits for its answer");
            let fault = Fault::new(FaultKind::DuplicateId, message);
            return self.supervisor.complain(Some(id), &fault);
        }
        match method {
            Ok(method) => self.serve(id, method),
            Err(fault) => self.refuse(id, fault),
        }
    }

    fn refuse(&self, id: Option<RequestId>, fault: Fault) {
        self.supervisor.answer::<DoneResult>(id, &Err(fault));
    }

    fn answer<R: Serialize>(&self, id: Option<RequestId>, result: &Result<R, Fault>) {
        self.supervisor.answer(id, result);
    }

    fn serve(&mut self, id: Option<RequestId>, method: Method) {
        if !self.is_initialized && !matches!(method, Method::Initialize(_)) {
            let message = "send `initialize` first";
            return self.refuse(id, Fault::new(FaultKind::NotInitialized, message));
        }
        match method {
            Method::Initialize(params) => {
                let result = self.initialize(&params);
                self.answer(id, &result);
            }
            Method::Spawn(params) => self.spawn(id, params),
            Method::Write(params) => self.write(id, params),
            Method::CloseStdin(params) => self.close_stdin(id, &params),
            Method::Signal(params) => self.answer(id, &self.signal(&params)),
            Method::Cancel(params) => self.answer(id, &self.cancel(params)),
            Method::Grant(params) => self.answer(id, &self.grant(&params)),
            Method::List => self.answer(id, &Ok(self.list())),
            Method::Shutdown(params) => self.shutdown(id, &params),
        }
    }

    fn initialize(&mut self, params: &InitializeParams) -> Result<InitializeResult, Fault> {
        if self.is_initialized {
            let message = "`initialize` was answered before";
            return Err(Fault::new(FaultKind::AlreadyInitialized, message));
        }
        if params.protocol_version != PROTOCOL_VERSION {
            let message = format!("this program speaks version {PROTOCOL_VERSION} only");
            return Err(Fault::new(FaultKind::UnsupportedVersion, message));
        }
        if let Some(pid) = params.host_pid {
            let watch = ProcessWatch::of(pid).map_err(|error| unwatched(&error))?;
            let gone = self.gone.clone();
            spawn_local(async move {
                watch.ended().await;
                let (Ok(()) | Err(_)) = gone.send(Gone::HostEnded);
            });
        }
        let grace = params.host_grace_ms.map_or(HOST_GRACE, millis);
        *self.host_grace.borrow_mut() = grace;
        pool_stdio::set_host_death_grace(grace);
        let kept = params.kept_bytes_total_max.map(usize::try_from);
        let kept = kept.map_or(KEPT_BYTES_TOTAL, |kept| kept.unwrap_or(usize::MAX));
        self.supervisor.limit_kept(kept.max(1));
        self.is_initialized = true;
        Ok(InitializeResult {
            protocol_version: PROTOCOL_VERSION,
            program_version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            platform: std::env::consts::OS,
            capabilities: Capabilities {
                scopes: if cfg!(target_os = "linux") {
                    vec![Scope::Root, Scope::Group, Scope::Tree]
                } else {
                    vec![Scope::Root, Scope::Group]
                },
                signals: signal_names(),
                session: cfg!(target_os = "linux"),
            },
            limits: Limits {
                line_bytes_max: LINE_BYTES_MAX as u64,
                children_max: CHILDREN_MAX as u64,
                write_bytes_max: WRITE_BYTES_MAX as u64,
                kept_bytes_total_max: self.supervisor.kept_total_max() as u64,
                output_bytes_max: CHUNK_BYTES_MAX as u64,
            },
        })
    }

    fn spawn(&self, id: Option<RequestId>, params: Box<SpawnParams>) {
        match self.begin(&params) {
            Ok(entry) => {
                self.supervisor.add(Rc::clone(&entry));
                let request = ChildRequest { entry, params, id };
                spawn_local(live(Rc::clone(&self.supervisor), request));
            }
            Err(fault) => self.refuse(id, fault),
        }
    }

    fn begin(&self, params: &SpawnParams) -> Result<Rc<Entry>, Fault> {
        if self.departure.has_begun() {
            let message = "this program is about to leave: start another one";
            return Err(Fault::new(FaultKind::ShuttingDown, message));
        }
        if self.supervisor.entry(&params.child).is_some() {
            let message = format!(
                "there is a child {:?}: choose another name, or wait for its `terminated`",
                params.child
            );
            return Err(Fault::new(FaultKind::DuplicateChild, message));
        }
        if self.supervisor.child_count() >= CHILDREN_MAX {
            let message = format!("there are {CHILDREN_MAX} children: wait for a `terminated`");
            return Err(Fault::new(FaultKind::TooManyChildren, message).transient(true));
        }
        check(params)?;
        let credit = [params.credit.stdout, params.credit.stderr];
        let inputs = self.supervisor.input_queue();
        let entry = Entry::new(params.child.clone(), settings(params), credit, inputs);
        Ok(Rc::new(entry))
    }

    fn entry(&self, name: &str) -> Result<Rc<Entry>, Fault> {
        self.supervisor.entry(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let message = format!("there is no child {shown:?}, or it was told as terminated");
            Fault::new(FaultKind::UnknownChild, message)
        })
    }

    fn write(&self, id: Option<RequestId>, params: WriteParams) {
        match self.check_write(params) {
            Ok((entry, bytes)) => {
                entry.state().queue_bytes(id, bytes);
                entry.stdin_changed.notify_one();
            }
            Err(fault) => self.refuse(id, fault),
        }
    }

    fn check_write(&self, params: WriteParams) -> Result<(Rc<Entry>, Vec<u8>), Fault> {
        let entry = self.entry(&params.child)?;
        let bytes = match (params.text, params.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => chunk_text::decode(&base64).map_err(|why| {
                let message = format!("`base64` is not standard base64 with padding: {why}");
                Fault::new(FaultKind::InvalidParams, message)
            })?,
            (Some(_), Some(_)) | (None, None) => {
                let message = "exactly one of `text` and `base64` must be given";
                return Err(Fault::new(FaultKind::InvalidParams, message));
            }
        };
        entry.state().check_input()?;
        self.check_room(&entry, bytes.len())?;
        Ok((entry, bytes))
    }

    fn check_room(&self, entry: &Entry, more: usize) -> Result<(), Fault> {
        let own = entry.state().input_cost() + more;
        let all = self.supervisor.inputs_total();
        if own <= WRITE_BYTES_MAX && all + more <= WRITE_BYTES_TOTAL_MAX {
            return Ok(());
        }
        let message = format!(
            "too much waits to be written ({own} bytes for this child, {WRITE_BYTES_MAX} are \
             allowed): wait for the answers to earlier writes"
        );
        Err(Fault::new(FaultKind::TooManyWrites, message).transient(true))
    }

    fn close_stdin(&self, id: Option<RequestId>, params: &CloseStdinParams) {
        let entry = self.entry(&params.child).and_then(|entry| {
            entry.state().check_input()?;
            Ok(entry)
        });
        match entry {
            Ok(entry) => {
                entry.state().queue_close(id);
                entry.stdin_changed.notify_one();
            }
            Err(fault) => self.refuse(id, fault),
        }
    }

    fn signal(&self, params: &SignalParams) -> Result<DoneResult, Fault> {
        let entry = self.entry(&params.child)?;
        let Some(signal) = signal_of(&params.signal) else {
            let shown: String = params.signal.chars().take(64).collect();
            let message = format!(
                "there is no signal {shown:?}: there are {:?}",
                signal_names()
            );
            return Err(Fault::new(FaultKind::InvalidParams, message));
        };
        let state = entry.state();
        let Some(child) = &state.child else {
            let message = "the child has not been started yet: wait for `spawned`";
            return Err(Fault::new(FaultKind::NotStarted, message).transient(true));
        };
        let sent = match params.to {
            SignalTarget::Root => child.signal_root(signal),
            SignalTarget::Group => child.signal(signal),
        };
        sent.map(|()| DoneResult {}).map_err(|error| match error {
            SignalError::Gone if state.stop.is_some() => {
                let message = "the child is being ended: `cancel` it by force to hasten that";
                Fault::new(FaultKind::Stopping, message)
            }
            SignalError::Gone => {
                Fault::new(FaultKind::ProcessGone, "it has exited").errno(Some("ESRCH"))
            }
            error @ SignalError::Unsupported => {
                Fault::new(FaultKind::SignalRefused, error.to_string()).errno(Some("ENOSYS"))
            }
            error @ (SignalError::Refused { .. } | _) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let message = format!("{error}: {}", source.unwrap_or_default());
                Fault::new(FaultKind::SignalRefused, message).errno(Some("EPERM"))
            }
        })
    }

    fn cancel(&self, params: CancelParams) -> Result<CancelResult, Fault> {
        let entry = self.entry(&params.child)?;
        let reason = params.reason.unwrap_or_else(|| "cancelled".to_owned());
        if reason.len() > REASON_BYTES_MAX {
            let message = format!("`reason` may have {REASON_BYTES_MAX} bytes");
            return Err(Fault::new(FaultKind::InvalidParams, message));
        }
        let was = entry.state().phase();
        let stop = match params.mode {
            CancelMode::Orderly => Stop::Orderly,
            CancelMode::Force => Stop::Force,
        };
        // One that is being started is ended then; the most forceful way counts.
        if let Some(cause) = &mut entry.state().stop
            && stop == Stop::Force
        {
            cause.stop = stop;
        }
        let cause = StopCause { reason, stop };
        self.supervisor.stop(&entry, stop, Some(cause));
        Ok(CancelResult { was })
    }

    fn grant(&self, params: &GrantParams) -> Result<DoneResult, Fault> {
        let entry = self.entry(&params.child)?;
        self.supervisor.grant(&entry, params.stream, params.bytes);
        Ok(DoneResult {})
    }

    fn list(&self) -> ListResult {
        let listed = self.supervisor.entries().into_iter().map(|entry| {
            let mut state = entry.state();
            let kept = [StreamName::Stdout, StreamName::Stderr]
                .map(|name| state.stream(name).kept.len() as u64);
            ListedChild {
                child: entry.name.clone(),
                pid: state.pid,
                state: state.phase(),
                kept_bytes: kept.iter().sum(),
                unwritten_bytes: state.unwritten(),
            }
        });
        ListResult {
            children: listed.collect(),
            kept_bytes: self.supervisor.kept_total() as u64,
            has_guardian: health().has_guardian,
        }
    }

    fn shutdown(&self, id: Option<RequestId>, params: &ShutdownParams) {
        let grace = params.grace_ms.map(millis);
        let grace = grace.unwrap_or_else(|| *self.host_grace.borrow());
        let leaving = self.departure.shut_down(grace);
        let supervisor = Rc::clone(&self.supervisor);
        let gone = self.gone.clone();
        spawn_local(async move {
            let result = leaving.await;
            supervisor.answer(id, &Ok(result));
            let (Ok(()) | Err(_)) = gone.send(Gone::ShutDown);
        });
    }
}

fn unwatched(error: &WatchError) -> Fault {
    let kind = match error {
        WatchError::NotFound { .. } => FaultKind::HostNotFound,
        WatchError::Refused { .. } | _ => FaultKind::HostNotWatchable,
    };
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    Fault::new(kind, format!("{error}{}", source.unwrap_or_default()))
}

const REASON_BYTES_MAX: usize = 256;
