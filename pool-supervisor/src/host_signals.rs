//! What the system tells this program: to leave, or that somebody pressed Ctrl-C.

use std::io;
use std::rc::Rc;

use pool_stdio::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;

use crate::departure::Gone;
use crate::supervisor::Supervisor;

/// Leaves on SIGTERM and SIGHUP. SIGINT and SIGQUIT come from a terminal to the host as well, which decides
/// whether to leave; the children get them from here.
#[cfg(unix)]
pub(crate) fn watch_signals(
    supervisor: &Rc<Supervisor>,
    gone: &UnboundedSender<Gone>,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let gone = gone.clone();
        spawn_local(async move {
            if signals.recv().await.is_some() {
                let (Ok(()) | Err(_)) = gone.send(Gone::Signalled);
            }
        });
    }
    for (kind, forwarded) in [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::quit(), Signal::Quit),
    ] {
        let mut signals = signal(kind)?;
        let supervisor = Rc::clone(supervisor);
        spawn_local(async move {
            while signals.recv().await.is_some() {
                supervisor.forward(forwarded);
            }
        });
    }
    Ok(())
}

/// Leaves when the console is closed or the system shuts down. Ctrl-C comes to the host as well, which
/// decides whether to leave; the children get it from here, as far as the system lets it.
#[cfg(windows)]
pub(crate) fn watch_signals(
    supervisor: &Rc<Supervisor>,
    gone: &UnboundedSender<Gone>,
) -> io::Result<()> {
    use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};
    let mut closes = ctrl_close()?;
    let mut shutdowns = ctrl_shutdown()?;
    let gone = gone.clone();
    spawn_local(async move {
        tokio::select! {
            _ = closes.recv() => {}
            _ = shutdowns.recv() => {}
        }
        let (Ok(()) | Err(_)) = gone.send(Gone::Signalled);
    });
    let mut interrupts = ctrl_c()?;
    let supervisor = Rc::clone(supervisor);
    spawn_local(async move {
        while interrupts.recv().await.is_some() {
            supervisor.forward(Signal::Interrupt);
        }
    });
    Ok(())
}
