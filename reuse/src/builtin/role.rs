//! The roles that the measuring program itself can play as a child.

use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use pool_stdio::CommandSpec;

use super::server::{self, Wire};

/// A child that is this program in another role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// Echoes what it reads as soon as it has it, in whatever frames.
    Echo,
    /// Answers JSON-RPC.
    Server(Wire),
}

impl BuiltIn {
    /// The value of [`ROLE`] that makes this program play it.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Server(Wire::Lines) => "server-lines",
            Self::Server(Wire::ContentLength) => "server-headers",
        }
    }

    /// What starts it.
    ///
    /// # Errors
    ///
    /// If the system does not say which file this program is.
    pub fn spec(self) -> io::Result<CommandSpec> {
        Ok(CommandSpec::new(env::current_exe()?).env(ROLE, self.role()))
    }

    fn play(self) -> io::Result<()> {
        match self {
            Self::Echo => echo(),
            Self::Server(wire) => server::serve(wire),
        }
    }
}

/// Plays the role of a child, if this process was started as one. A program that measures begins
/// with this.
///
/// # Errors
///
/// If its pipes fail.
pub fn act_if_asked() -> Option<io::Result<ExitCode>> {
    let role = env::var(ROLE).ok()?;
    let mut all = ALL.into_iter();
    let found = all.find(|one| one.role() == role)?;
    Some(found.play().map(|()| ExitCode::SUCCESS))
}

fn echo() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let read = input.fill_buf()?;
        if read.is_empty() {
            return Ok(());
        }
        output.write_all(read)?;
        output.flush()?;
        let count = read.len();
        input.consume(count);
    }
}

/// The environment variable that makes a measuring program a child.
pub const ROLE: &str = "POOL_MEASURE_ROLE";
const ALL: [BuiltIn; 3] = [
    BuiltIn::Echo,
    BuiltIn::Server(Wire::Lines),
    BuiltIn::Server(Wire::ContentLength),
];
