//! The end of a process that this program did not start.

use std::fmt;
use std::io;

use super::sys::ForeignProcess;

/// Waits for the end of a process that is no child of this program, such as the one that started it.
///
/// By a pidfd on Linux and a handle on Windows: both mean that process, and no later one that gets its
/// number. Where there is neither, the number is looked at every 100 ms, and another process that gets it
/// in between is taken for the first one.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, ProcessWatch, Stop, WatchError};
///
/// let child = CommandSpec::new("cat").build()?.spawn().await?;
/// let watch = ProcessWatch::of(child.pid())?;
/// child.terminate(Stop::Force).await;
/// watch.ended().await;
/// assert!(matches!(ProcessWatch::of(0), Err(WatchError::NotFound { pid: 0 })));
/// # Ok(())
/// # }
/// ```
pub struct ProcessWatch(ForeignProcess);

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// There is no such process.
    #[error("there is no process {pid}")]
    NotFound {
        /// Its number.
        pid: u32,
    },
    /// The system does not let this program watch it.
    #[error("the system refused to watch the process {pid}")]
    Refused {
        /// Its number.
        pid: u32,
        /// What the system says.
        source: io::Error,
    },
}

impl ProcessWatch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// [`WatchError::NotFound`] if there is no such process, and [`WatchError::Refused`] if the system does
    /// not let this program watch it.
    ///
    /// # Panics
    ///
    /// On Linux, outside of a runtime with I/O.
    pub fn of(pid: u32) -> Result<Self, WatchError> {
        match ForeignProcess::of(pid) {
            Ok(Some(process)) => Ok(Self(process)),
            Ok(None) => Err(WatchError::NotFound { pid }),
            Err(source) => Err(WatchError::Refused { pid, source }),
        }
    }

    /// Resolves when it has ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call waits on.
    pub async fn ended(&self) {
        self.0.ended().await;
    }
}

impl fmt::Debug for ProcessWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessWatch").finish_non_exhaustive()
    }
}
