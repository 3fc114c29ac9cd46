//! Where the fixture program is.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

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

const IS_FIXTURE: &str = "POOL_TESTS_IS_FIXTURE";
