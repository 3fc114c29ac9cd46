//! The signals that a program may want to pass on to its children.

/// A signal to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP.
    HangUp,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
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
