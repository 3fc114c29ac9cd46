//! The task of one child: starts it, tells of its exit, and carries it to `terminated`.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use pool_stdio::{Child, ChildInput, ChildOutput, Stop, Termination};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::drain::{CutReason, DrainClock, DrainLimits, DrainOrder, DrainSight};
use crate::entry::{Entry, STREAMS, StdinEnd, StopCause, StreamState, place};
use crate::limits::{CUT_BYTES_MAX, HOSTLESS_DRAIN};
use crate::outcome_report::{exit_report, rung_report, survivor_report};
use crate::protocol::{
    AfterExit, DrainReport, ExitNotice, Fault, FaultKind, Notice, RequestId, SpawnParams,
    SpawnResult, SpawnedNotice, StdinMode, StreamEndedNotice, StreamName, StreamReport,
    TerminatedNotice,
};
use crate::pumps::{discard, feed_stdin, read_stream};
use crate::start_spec::{as_script, look_up, spawn_fault, specs};
use crate::supervisor::Supervisor;

/// A child that is to be started.
#[derive(Debug)]
pub(crate) struct ChildRequest {
    pub(crate) entry: Rc<Entry>,
    pub(crate) params: Box<SpawnParams>,
    pub(crate) id: Option<RequestId>,
}

/// The readers of the two streams, where there are pipes.
type Readers = [Option<Reader>; 2];

#[derive(Debug)]
struct Reader {
    pipe: Rc<ChildOutput>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(supervisor: &Supervisor, params: &SpawnParams) -> Result<Child, Fault> {
    let command = look_up(&supervisor.look_ups, params, specs(params)).await?;
    supervisor.prepared().await;
    let started = supervisor.children.spawn(&command).await;
    let error = match started {
        Ok(child) => return Ok(child),
        Err(error) => error,
    };
    let Some(script) = as_script(params, &command, &error) else {
        return Err(spawn_fault(&error));
    };
    let command = look_up(&supervisor.look_ups, params, vec![script]).await?;
    let started = supervisor.children.spawn(&command).await;
    started.map_err(|error| spawn_fault(&error))
}

/// Carries a child from its start to `terminated`.
pub(crate) async fn live(supervisor: Rc<Supervisor>, request: ChildRequest) {
    let ChildRequest { entry, params, id } = request;
    let stdin = params.stdio.stdin;
    let started = start(&supervisor, &params).await;
    drop(params);
    let started = started.and_then(|child| {
        let pid = child.pid();
        let exited = child.exited();
        let terminating = child.terminating();
        let readers = adopt(&supervisor, &entry, child, stdin).map_err(|error| {
            let message = format!("the pipes of the child cannot be used: {error}");
            Fault::new(FaultKind::Resources, message).transient(true)
        })?;
        Ok((pid, exited, terminating, readers))
    });
    let (pid, exited, terminating, readers) = match started {
        Ok(started) => started,
        Err(fault) => return refuse(&supervisor, &entry, id, &fault),
    };
    supervisor.tell(&Notice::Spawned(SpawnedNotice {
        child: entry.name.clone(),
        pid,
    }));
    supervisor.answer(id, &Ok(SpawnResult { pid }));
    // A cancel can have come before.
    let cancelled = entry.state().stop.clone();
    if let Some(cause) = cancelled {
        supervisor.stop(&entry, cause.stop, None);
    }
    let timer = entry.settings.timeout.map(|limit| {
        let (supervisor, entry) = (Rc::clone(&supervisor), Rc::clone(&entry));
        spawn_local(async move {
            sleep(limit).await;
            let cause = StopCause {
                reason: "timeout".to_owned(),
                stop: Stop::Orderly,
            };
            supervisor.stop(&entry, Stop::Orderly, Some(cause));
        })
    });
    let exit = meanwhile(&supervisor, &entry, exited).await;
    {
        let mut state = entry.state();
        state.has_exited = true;
        state.ending_since.get_or_insert_with(Instant::now);
    }
    supervisor.tell(&Notice::Exit(ExitNotice {
        child: entry.name.clone(),
        exit: exit_report(exit),
    }));
    if !entry.state().is_begun {
        leave_time(&supervisor, &entry).await;
    }
    if let Some(timer) = timer {
        timer.abort();
    }
    if !entry.state().is_begun {
        supervisor.stop(&entry, Stop::Orderly, None);
    }
    let termination = meanwhile(&supervisor, &entry, terminating).await;
    drain(&supervisor, &entry, readers).await;
    supervisor.tell(&terminated(&entry, &termination));
    supervisor.remove(&entry);
}

/// Takes over what the child has. If that fails it is killed.
fn adopt(
    supervisor: &Rc<Supervisor>,
    entry: &Rc<Entry>,
    mut child: Child,
    stdin_mode: StdinMode,
) -> io::Result<Readers> {
    let stdin = child.take_stdin().map(ChildInput::new);
    let stdin = stdin.transpose()?.filter(|_| stdin_mode == StdinMode::Pipe);
    let pipes = [child.take_stdout(), child.take_stderr()];
    let pipes = pipes.map(|pipe| pipe.map(ChildOutput::new).transpose());
    let [stdout, stderr] = pipes;
    let pipes = [stdout?, stderr?];
    let mut state = entry.state();
    state.pid = Some(child.pid());
    if stdin.is_none() {
        state.stdin_end = StdinEnd::Closed;
    }
    state.stdin = stdin;
    state.child = Some(child);
    for (stream, pipe) in state.streams.iter_mut().zip(&pipes) {
        if pipe.is_none() {
            stream.end = Some(DrainReport::None);
        }
    }
    drop(state);
    spawn_local(feed_stdin(Rc::clone(supervisor), Rc::clone(entry)));
    let [stdout, stderr] = pipes;
    let read = |name, pipe: ChildOutput| {
        let pipe = Rc::new(pipe);
        let (supervisor, entry) = (Rc::clone(supervisor), Rc::clone(entry));
        let task = spawn_local(read_stream(supervisor, entry, name, Rc::clone(&pipe)));
        Reader { pipe, task }
    };
    Ok([
        stdout.map(|pipe| read(StreamName::Stdout, pipe)),
        stderr.map(|pipe| read(StreamName::Stderr, pipe)),
    ])
}

fn refuse(supervisor: &Supervisor, entry: &Entry, id: Option<RequestId>, fault: &Fault) {
    let message = "the child was not started";
    let why = Fault::new(FaultKind::UnknownChild, message);
    let (answers, _) = entry.state().abandon_inputs(&why);
    supervisor.remove(entry);
    supervisor.answer::<SpawnResult>(id, &Err(fault.clone()));
    supervisor.answer_inputs(answers);
}

/// Waits, and tells of streams that end before.
async fn meanwhile<T>(
    supervisor: &Supervisor,
    entry: &Entry,
    future: impl Future<Output = T>,
) -> T {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            biased;
            done = &mut future => return done,
            () = entry.changed.notified() => tell_ends(supervisor, entry),
        }
    }
}

fn tell_ends(supervisor: &Supervisor, entry: &Entry) {
    for name in STREAMS {
        let mut state = entry.state();
        let stream = state.stream(name);
        if !stream.is_done() || std::mem::replace(&mut stream.is_end_told, true) {
            continue;
        }
        let Some(drain) = stream.end.filter(|drain| *drain != DrainReport::None) else {
            continue;
        };
        supervisor.tell(&Notice::StreamEnded(StreamEndedNotice {
            child: entry.name.clone(),
            stream: name,
            drain,
        }));
    }
}

/// What the child has left behind may finish its output before it is ended.
async fn leave_time(supervisor: &Supervisor, entry: &Entry) {
    let mut clock = DrainClock::default();
    let limits = match entry.settings.after_exit {
        AfterExit::End => Some(limits_of(supervisor, entry)),
        AfterExit::Wait => None,
    };
    loop {
        tell_ends(supervisor, entry);
        if entry.state().is_begun {
            return;
        }
        let sight = match sight(entry) {
            // What was read is sent later.
            DrainSight::HostIsDue { .. } if has_ended(entry) => DrainSight::Done,
            sight @ (DrainSight::Done
            | DrainSight::Reading { .. }
            | DrainSight::HostIsDue { .. }) => sight,
        };
        match clock.look(Instant::now(), limits, sight) {
            DrainOrder::Finish | DrainOrder::Cut(_) => return,
            DrainOrder::Wait(until) => wait(entry, until).await,
        }
    }
}

/// Reads on until the pipes are at their ends and everything was sent, or until the time is over.
async fn drain(supervisor: &Supervisor, entry: &Entry, mut readers: Readers) {
    let mut clock = DrainClock::default();
    loop {
        tell_ends(supervisor, entry);
        let limits = Some(limits_of(supervisor, entry));
        match clock.look(Instant::now(), limits, sight(entry)) {
            DrainOrder::Finish => return,
            DrainOrder::Wait(until) => wait(entry, until).await,
            DrainOrder::Cut(why) => {
                cut(entry, &mut readers, why);
                if entry.state().stop.is_some() {
                    supervisor.cut_ungranted(entry);
                }
                clock = DrainClock::default();
            }
        }
    }
}

/// Stops to read what has not ended, and counts what is in the pipe. Unless the child was cancelled, one
/// that the host has left without credit is kept.
fn cut(entry: &Entry, readers: &mut Readers, why: CutReason) {
    for name in STREAMS {
        let mut state = entry.state();
        let is_cancelled = state.stop.is_some();
        let stream = state.stream(name);
        if stream.end.is_some() || (stream.is_paused && !is_cancelled) {
            continue;
        }
        let Some(reader) = readers[place(name)].take() else {
            continue;
        };
        reader.task.abort();
        let left = discard(&reader.pipe, CUT_BYTES_MAX);
        stream.kept.count_cut(left);
        stream.end = Some(match why {
            CutReason::Idle => DrainReport::Idle,
            CutReason::NoCredit if stream.is_paused => DrainReport::NoCredit,
            CutReason::TimedOut | CutReason::NoCredit => DrainReport::TimedOut,
        });
    }
}

async fn wait(entry: &Entry, until: Option<Instant>) {
    match until {
        Some(until) => tokio::select! {
            () = entry.changed.notified() => {}
            () = sleep_until(until) => {}
        },
        None => entry.changed.notified().await,
    }
}

fn has_ended(entry: &Entry) -> bool {
    entry.state().streams.iter().all(|one| one.end.is_some())
}

fn sight(entry: &Entry) -> DrainSight {
    let state = entry.state();
    if state.streams.iter().all(StreamState::is_done) {
        return DrainSight::Done;
    }
    let open = state.streams.iter().filter(|one| one.end.is_none());
    // A process that is blocked by one stream is silent on the other: that is not its fault.
    if open.clone().any(|one| one.is_paused) || open.clone().count() == 0 {
        // Order: a cut changes what is seen here, or the next look would order the same cut again, for ever.
        let is_cuttable = state.stop.is_some() && state.streams.iter().any(StreamState::can_be_cut);
        return DrainSight::HostIsDue { is_cuttable };
    }
    let last_read = open.filter_map(|one| one.last_read).max();
    DrainSight::Reading { last_read }
}

/// What the host asked for. When it has gone, nobody waits for the rest of what strangers hold. A shutdown
/// has an end.
fn limits_of(supervisor: &Supervisor, entry: &Entry) -> DrainLimits {
    let most = if supervisor.is_drain_over() {
        Duration::ZERO
    } else if supervisor.has_host_gone() {
        HOSTLESS_DRAIN
    } else {
        Duration::MAX
    };
    DrainLimits {
        timeout: entry.settings.drain_timeout.min(most),
        idle: entry.settings.drain_idle.min(most),
    }
}

fn terminated(entry: &Entry, termination: &Termination) -> Notice {
    let mut state = entry.state();
    let mut report = |name: StreamName| {
        let stream = state.stream(name);
        let totals = stream.kept.totals();
        StreamReport {
            drain: stream.end.unwrap_or(DrainReport::None),
            bytes: totals.sent,
            dropped_bytes: totals.dropped,
            cut_bytes: totals.cut,
        }
    };
    let (stdout, stderr) = (report(StreamName::Stdout), report(StreamName::Stderr));
    let elapsed = state.ending_since.map(|since| since.elapsed());
    let unwritten = state.unwritten_bytes + termination.unwritten_bytes as u64;
    Notice::Terminated(Box::new(TerminatedNotice {
        child: entry.name.clone(),
        pid: termination.pid,
        exit: exit_report(termination.exit),
        exited_by_itself: termination.exited_by_itself,
        reason: state.stop.as_ref().map(|cause| cause.reason.clone()),
        rung: rung_report(termination.rung),
        stdout,
        stderr,
        unwritten_bytes: unwritten,
        survivors: survivor_report(termination),
        elapsed_ms: elapsed.map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        }),
    }))
}

#[cfg(test)]
mod tests;
