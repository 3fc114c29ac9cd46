//! Where the fixture program is, and what tests do to its processes.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use pool_core::Builder;
use pool_stdio::CommandSpec;
use pool_testkit::census::Census;
use pool_testkit::fixture::{self, Behaviour};

/// The fixture program, and the census that counts its processes.
#[derive(Debug)]
pub struct Stage<'a> {
    program: PathBuf,
    is_this: bool,
    census: &'a Census,
}

impl<'a> Stage<'a> {
    /// The program at this path.
    pub fn at(program: impl Into<PathBuf>, census: &'a Census) -> Self {
        Self {
            program: program.into(),
            is_this: false,
            census,
        }
    }

    /// This very program, which must begin with [`act_if_asked`].
    ///
    /// # Panics
    ///
    /// If the system does not tell which file this program is.
    #[must_use]
    pub fn this_program(census: &'a Census) -> Self {
        Self {
            program: env::current_exe().expect("Linux names the file of a running program"),
            is_this: true,
            census,
        }
    }

    /// How to start a child of this behaviour.
    #[must_use]
    pub fn spec(&self, behaviour: &Behaviour) -> CommandSpec {
        let spec = self.census.mark(behaviour.command(&self.program));
        if self.is_this {
            spec.env(IS_FIXTURE, "1")
        } else {
            spec
        }
    }

    /// The census.
    #[must_use]
    pub const fn census(&self) -> &'a Census {
        self.census
    }
}

/// Acts as the fixture, if this process was started as one. Its descendants inherit that.
#[must_use]
pub fn act_if_asked() -> Option<ExitCode> {
    env::var_os(IS_FIXTURE).map(|_| fixture::main())
}

/// Lets a pool replace dead children at once: a test that kills many would otherwise measure the
/// pacer, which takes children that die young for a crash loop.
///
/// With `min_uptime` zero no death counts as a failure; `retry_delay` is one millisecond, first and
/// last.
pub fn eager<T: Send + 'static, L>(builder: Builder<T, L>) -> Builder<T, L> {
    let millisecond = Duration::from_millis(1);
    builder
        .min_uptime(Duration::ZERO)
        .retry_delay(millisecond, millisecond)
}

/// Sends SIGKILL to a child by its id, without its pool knowing. The child may have ended already.
///
/// # Panics
///
/// If the system does not allow it.
pub fn kill(pid: u32) {
    match signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot kill {pid}: {error}"),
    }
}

const IS_FIXTURE: &str = "POOL_TESTS_IS_FIXTURE";
