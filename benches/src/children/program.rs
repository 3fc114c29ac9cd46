//! The children: this program in another role, and interpreters.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use pool_stdio::CommandSpec;
use pool_testkit::fixture::{self, Behaviour};

use pool_reuse::builtin::server::Wire;
use pool_reuse::builtin::{self, BuiltIn, ROLE};

use super::Measured;

/// Plays the role of a child, if this process was started as one. A program that measures begins
/// with this.
///
/// # Errors
///
/// If its pipes fail.
pub fn act_if_asked() -> Option<io::Result<ExitCode>> {
    match env::var(ROLE).ok()?.as_str() {
        FIXTURE => Some(Ok(fixture::main())),
        _ => builtin::act_if_asked(),
    }
}

/// Something that echoes, or answers.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    role: BuiltIn,
}

impl Program {
    /// This program, as compiled code that does nothing else.
    ///
    /// # Errors
    ///
    /// If the system does not tell which file it is.
    pub fn native() -> Measured<Self> {
        Ok(Self {
            path: env::current_exe()?,
            args: Vec::new(),
            role: BuiltIn::Echo,
        })
    }

    /// This program, as a JSON-RPC server.
    ///
    /// # Errors
    ///
    /// If the system does not tell which file it is.
    pub fn server(wire: Wire) -> Measured<Self> {
        Ok(Self {
            role: BuiltIn::Server(wire),
            ..Self::native()?
        })
    }

    /// An interpreter that echoes lines. Not what is found by its name, which may be a script that
    /// looks for it first, but the very file that runs in the end.
    ///
    /// # Errors
    ///
    /// If there is none, or it does not tell where it is.
    pub fn interpreter(name: &str, where_it_is: &str, script: &str) -> Measured<Self> {
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

    /// The file.
    #[must_use]
    pub const fn path(&self) -> &PathBuf {
        &self.path
    }

    /// What starts it as a connection.
    #[must_use]
    pub fn spec(&self) -> CommandSpec {
        CommandSpec::new(&self.path)
            .args(self.args.clone())
            .env(ROLE, self.role.role())
    }

    /// Starts it as the standard library does, with stdin and stdout.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    #[expect(
        clippy::disallowed_methods,
        reason = "the children that a pool's are compared with are not the pool's"
    )]
    pub fn start(&self) -> Measured<(Child, ChildStdin, ChildStdout)> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or("both were asked for")?;
        Ok((child, stdin, stdout))
    }

    /// The command of the standard library.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env(ROLE, self.role.role());
        command
    }

    /// One request to a child of its own, in the fastest way there is.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not answer.
    pub fn ask_alone(&self) -> Measured<()> {
        let (mut child, mut stdin, mut stdout) = self.start()?;
        stdin.write_all(MESSAGE)?;
        drop(stdin);
        let mut line = Vec::new();
        stdout.read_to_end(&mut line)?;
        child.wait()?;
        check(&line)
    }
}

/// What starts the misbehaving child.
///
/// # Errors
///
/// If the system does not tell which file this is.
pub fn fixture(behaviour: &Behaviour) -> Measured<CommandSpec> {
    Ok(behaviour.command(env::current_exe()?).env(ROLE, FIXTURE))
}

/// An answer, with its end of line, is what was said.
///
/// # Errors
///
/// If it is not.
pub fn check(line: &[u8]) -> Measured<()> {
    check_content(line.strip_suffix(b"\n").unwrap_or_default())
}

/// An answer, without its end of line, is what was said.
///
/// # Errors
///
/// If it is not.
pub fn check_content(line: &[u8]) -> Measured<()> {
    if line == content() {
        Ok(())
    } else {
        Err("the echo is not what was said".into())
    }
}

/// What is said, without its end of line.
#[must_use]
pub const fn content() -> &'static [u8] {
    MESSAGE.split_at(MESSAGE.len() - 1).0
}

/// The cores on which this thread, and what it starts, may run.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// In words.
    pub what: &'static str,
    /// Their set.
    pub set: CpuSet,
}

impl Cores {
    /// One of them, and all of them: pinned leaves out the cost of waking another core.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn choices() -> Measured<[Self; 2]> {
        let everywhere = sched_getaffinity(THIS_THREAD)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|core| everywhere.is_set(*core).unwrap_or(false));
        one.set(first.unwrap_or(0))?;
        Ok([
            Self {
                what: "pinned to one core",
                set: one,
            },
            Self {
                what: "unpinned",
                set: everywhere,
            },
        ])
    }

    /// Moves this thread, and what it will start.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn move_here(&self) -> Measured<()> {
        Ok(sched_setaffinity(THIS_THREAD, &self.set)?)
    }

    /// Moves a child that another thread has started.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn move_child(&self, pid: u32) -> Measured<()> {
        Ok(sched_setaffinity(
            Pid::from_raw(pid.try_into()?),
            &self.set,
        )?)
    }
}

/// 70 bytes.
pub const MESSAGE: &[u8; 70] =
    b"{\"jsonrpc\":\"2.0\",\"id\":12345678,\"method\":\"tools/call\",\"params\":[true]}\n";
const THIS_THREAD: Pid = Pid::from_raw(0);
const FIXTURE: &str = "fixture";
