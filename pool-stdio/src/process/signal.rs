//! The signals that a program may want to pass on to its children.

use std::io;

use thiserror::Error;

/// A signal to a child.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{Children, CommandSpec, Signal};
///
/// let children = Children::new();
/// let child = children.spawn(&CommandSpec::new("cat").build()?).await?;
/// assert!(children.signal_all(Signal::Terminate).is_empty(), "it reached everybody");
/// assert_eq!(child.exited().await.status().unwrap().code(), None, "by a signal");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP.
    HangUp,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGABRT.
    Abort,
    /// SIGALRM.
    Alarm,
    /// SIGPIPE.
    BrokenPipe,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGTSTP.
    Suspend,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGWINCH.
    WindowChange,
    /// SIGKILL.
    Kill,
}

/// Why a signal was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The process group is empty.
    #[error("the process group is empty")]
    Gone,
    /// This system has no such signal. On Windows: all but [`Signal::Kill`], and [`Signal::Terminate`]
    /// (`CTRL_BREAK_EVENT`) where the child shares a console with this program.
    #[error("this system has no such signal for the child")]
    Unsupported,
    /// The system does not allow it.
    #[error("the system refused to send the signal")]
    Refused {
        /// What the system says.
        source: io::Error,
    },
}
