//! The programs that are started as children: this one in another role, and interpreters.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use pool_stdio::CommandSpec;
use pool_testkit::fixture::{self, Behaviour};

use pool_reuse::builtin::Wire;
use pool_reuse::builtin::{self, BuiltIn, ROLE};

use pool_reuse::measure::Measured;

use super::idle_children;

/// Plays the role of a child, if this process was started as one. A program that measures begins
/// with this.
///
/// # Errors
///
/// If its pipes fail.
pub fn act_if_asked() -> Option<io::Result<ExitCode>> {
    match env::var(ROLE).ok()?.as_str() {
        FIXTURE => Some(Ok(fixture::main())),
        idle_children::HOST => Some(idle_children::act()),
        _ => builtin::act_if_asked(),
    }
}

/// A program that echoes or answers.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    role: BuiltIn,
}

impl Program {
    /// This program as a native echo.
    ///
    /// # Errors
    ///
    /// If the system does not say which file this program is.
    pub(super) fn native() -> Measured<Self> {
        Ok(Self {
            path: env::current_exe()?,
            args: Vec::new(),
            role: BuiltIn::Echo,
        })
    }

    /// This program as a JSON-RPC server.
    ///
    /// # Errors
    ///
    /// If the system does not say which file this program is.
    pub(super) fn server(wire: Wire) -> Measured<Self> {
        Ok(Self {
            role: BuiltIn::Server(wire),
            ..Self::native()?
        })
    }

    /// An interpreter that echoes lines. The interpreter is asked where its own file is, since what
    /// is found under its name can be a script that looks for it first.
    ///
    /// # Errors
    ///
    /// If there is none, or it does not say where it is.
    pub(super) fn interpreter(name: &str, where_it_is: &str, script: &str) -> Measured<Self> {
        let flag = if name == "node" { "-e" } else { "-c" };
        let found = Command::new(name).args([flag, where_it_is]).output()?;
        if !found.status.success() {
            return Err(format!("{name} {}", found.status).into());
        }
        Ok(Self {
            path: String::from_utf8(found.stdout)?.trim().into(),
            args: vec![flag.into(), script.into()],
            role: BuiltIn::Echo,
        })
    }

    /// The command that starts it as a connection.
    #[must_use]
    pub(super) fn spec(&self) -> CommandSpec {
        CommandSpec::new(&self.path)
            .args(self.args.clone())
            .env(ROLE, self.role.role())
    }

    /// Starts it with the standard library, with pipes for stdin and stdout.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    #[expect(
        clippy::disallowed_methods,
        reason = "children that are compared with those of a pool"
    )]
    pub(super) fn start(&self) -> Measured<(Child, ChildStdin, ChildStdout)> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or("both pipes were asked for")?;
        Ok((child, stdin, stdout))
    }

    /// The same command for the standard library.
    #[must_use]
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env(ROLE, self.role.role());
        command
    }

    /// Starts a child, asks it once and waits for its end: the fastest way without a pool.
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not answer.
    pub(super) fn ask_alone(&self) -> Measured<()> {
        let (mut child, mut stdin, mut stdout) = self.start()?;
        stdin.write_all(MESSAGE)?;
        drop(stdin);
        let mut line = Vec::new();
        stdout.read_to_end(&mut line)?;
        child.wait()?;
        check(&line)
    }
}

/// The command that starts a misbehaving child.
///
/// # Errors
///
/// If the system does not say which file this program is.
pub(super) fn fixture(behaviour: &Behaviour) -> Measured<CommandSpec> {
    Ok(as_fixture(behaviour.command(env::current_exe()?)))
}

/// Makes this program play the fixture wherever the command starts it.
pub(super) fn as_fixture(spec: CommandSpec) -> CommandSpec {
    spec.env(ROLE, FIXTURE)
}

/// Checks that an answer with its line end is the echo of [`MESSAGE`].
///
/// # Errors
///
/// If it is anything else.
pub(super) fn check(line: &[u8]) -> Measured<()> {
    check_content(line.strip_suffix(b"\n").unwrap_or_default())
}

/// Checks that an answer without its line end is the echo of [`content`].
///
/// # Errors
///
/// If it is anything else.
pub(super) fn check_content(line: &[u8]) -> Measured<()> {
    if line == content() {
        Ok(())
    } else {
        Err("the echo differs from the request".into())
    }
}

/// The request without its line end.
#[must_use]
pub(super) const fn content() -> &'static [u8] {
    MESSAGE.split_at(MESSAGE.len() - 1).0
}

/// The request: 70 bytes with its line end.
pub(super) const MESSAGE: &[u8; 70] =
    b"{\"jsonrpc\":\"2.0\",\"id\":12345678,\"method\":\"tools/call\",\"params\":[true]}\n";
const FIXTURE: &str = "fixture";
