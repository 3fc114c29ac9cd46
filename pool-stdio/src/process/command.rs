//! What is to be started: a [`CommandSpec`] is what the user asks for, a [`Command`] is a spec whose
//! program, directory and strings were checked.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::cgroup_spec::{CgroupProblem, CgroupSpec};
use super::command_error::CommandError;
use super::cookie::Mark;
use super::environment::Environment;
use super::limits::ProcessLimits;
use super::program;
use super::shim;
use super::stderr::{LineSink, StderrLine, StderrPolicy};
use super::sys::{self, Mask, Place, Start, StderrEnd, StdoutEnd};
use super::terminate::{KillScope, LadderTimes};

/// What to start and how to terminate it: program, arguments, environment, scope, graces.
///
/// No shell is involved: arguments reach the program as they are.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use pool_stdio::{CommandError, CommandSpec};
///
/// let command = CommandSpec::new("cat").arg("-u").build()?;
/// assert!(command.path().ends_with("cat"));
///
/// let error = CommandSpec::new("./no-such-server").build().unwrap_err();
/// assert!(matches!(error, CommandError::NotFound { .. }));
/// # }
/// # Ok::<(), pool_stdio::CommandError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CommandSpec {
    program: OsString,
    name: Option<String>,
    args: Vec<OsString>,
    /// What the program sees as its own name, if not its path.
    arg0: Option<OsString>,
    environment: Environment,
    current_dir: Option<PathBuf>,
    stdout: StdoutEnd,
    stderr: StderrPolicy,
    stderr_lines: Option<LineSink>,
    scope: KillScope,
    times: LadderTimes,
    place: Place,
    guarding: Guarding,
    limits: ProcessLimits,
    cgroup: Option<CgroupSpec>,
    children_max: usize,
}

impl CommandSpec {
    /// A program by its path, or by its name, to be looked up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            name: None,
            args: Vec::new(),
            arg0: None,
            environment: Environment::default(),
            current_dir: None,
            stdout: StdoutEnd::Pipe,
            stderr: StderrPolicy::default(),
            stderr_lines: None,
            scope: KillScope::default(),
            times: LadderTimes::default(),
            place: Place::default(),
            guarding: Guarding::default(),
            limits: ProcessLimits::default(),
            cgroup: None,
            children_max: 1,
        }
    }

    /// The `connector` label of the metrics and logs of its children. Default: the file name of the
    /// program.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// What the program sees as its own name (`argv[0]`). Default: the path of its file.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, OneShotConnector};
    ///
    /// let shell = CommandSpec::new("sh").arg0("helper").args(["-c", "read -r line; echo $0"]);
    /// let output = OneShotConnector::new(shell)?.pool().build()?.acquire().await?.run("").await?;
    /// assert_eq!(output.stdout, "helper\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.arg0 = Some(name.into());
        self
    }

    /// Sets a variable, whether or not it would be inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.set(name.into(), Some(value.into()));
        self
    }

    /// Removes a variable that would be inherited.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.set(name.into(), None);
        self
    }

    /// Inherits the variables of these names only; `env_only([""; 0])` inherits none. Default: all of them.
    /// Variables that are [set](Self::env) are not affected. Most programs need `HOME`, `LOGNAME`, `PATH`,
    /// `SHELL`, `TERM` and `USER`. One whose value starts with `()` is left out: some shells would
    /// execute it as a function.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, OneShotConnector};
    ///
    /// let tool = CommandSpec::new("sh").args(["-c", "cat; echo $LANG $HOME"]);
    /// let tool = tool.env_only(["PATH"]).env("LANG", "C");
    /// let output = OneShotConnector::new(tool)?.pool().build()?.acquire().await?.run("").await?;
    /// assert_eq!(output.stdout, "C\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn env_only<N: Into<OsString>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into);
        self.environment.inherit_only(names.collect());
        self
    }

    /// The working directory of the child. Default: that of this program at the time of the start. It
    /// does not affect a relative path of the program itself.
    #[must_use]
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(path.into());
        self
    }

    /// Gives the child `/dev/null` as stdout: there is no pipe to [take](crate::Child::take_stdout).
    /// Connectors refuse such a command.
    #[must_use]
    pub fn discard_stdout(mut self) -> Self {
        self.stdout = StdoutEnd::Null;
        self
    }

    /// Where stderr goes. Default: a ring of 64 KiB or 200 lines.
    #[must_use]
    pub fn stderr(mut self, policy: StderrPolicy) -> Self {
        self.stderr = policy;
        self
    }

    /// Calls `sink` with each line of stderr as it comes, if stderr goes to a ring. Default: no sink.
    ///
    /// One thread calls the sinks of all children: a sink that blocks delays the lines of others, never a
    /// child. Lines that come too fast are skipped. A panic of the sink is caught and ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::CommandSpec;
    /// use std::sync::mpsc;
    ///
    /// let (sender, lines) = mpsc::channel();
    /// let noisy = CommandSpec::new("sh").args(["-c", "echo 'low on memory' >&2"]);
    /// let noisy = noisy.stderr_lines(move |line| {
    ///     tracing::info!(pid = line.pid, skipped = line.skipped, "{}", line.text);
    ///     drop(sender.send((line.pid, line.text.to_owned())));
    /// });
    /// let child = noisy.build()?.spawn().await?;
    /// assert_eq!(lines.recv()?, (child.pid(), String::from("low on memory")));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stderr_lines(mut self, sink: impl Fn(&StderrLine<'_>) + Send + Sync + 'static) -> Self {
        self.stderr_lines = Some(LineSink::new(sink));
        self
    }

    /// Which processes a termination ends. Default: the process group.
    #[must_use]
    pub fn kill_scope(mut self, scope: KillScope) -> Self {
        self.scope = scope;
        self
    }

    /// How long each rung of a termination may last.
    #[must_use]
    pub fn ladder_times(mut self, times: LadderTimes) -> Self {
        self.times = times.clamped();
        self
    }

    /// Starts the child in a session of its own, rather than in a process group of our session: it has
    /// no terminal, and a hang-up of ours does not reach it. Linux only; elsewhere the start fails.
    #[must_use]
    pub fn session(mut self) -> Self {
        self.place = Place::Session;
        self
    }

    /// Leaves the child alive if this program ends before it. By default a
    /// [guardian](crate::prepare) ends it then.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.guarding = Guarding::Unguarded;
        self
    }

    /// Limits on the child and on each process that it starts. Default: those of this program.
    ///
    /// For a limit on how many processes there are, or on the memory of all together, use a
    /// [control group](Self::cgroup).
    #[must_use]
    pub fn limits(mut self, limits: ProcessLimits) -> Self {
        self.limits = limits;
        self
    }

    /// A control group for each child. A termination ends all that is in it, so
    /// [`KillScope::Group`] means the same as [`Tree`](KillScope::Tree), and
    /// [`Root`](KillScope::Root) is refused. Default: none.
    #[must_use]
    pub fn cgroup(mut self, cgroup: CgroupSpec) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// How many children of this command are meant to live at once. [`build`](Self::build) compares
    /// their descriptors, four each, with the limit of this process. Nothing is limited later.
    /// Default: 1.
    #[must_use]
    pub fn children_max(mut self, count: usize) -> Self {
        self.children_max = count;
        self
    }

    /// Checks everything that can be checked without starting the child.
    ///
    /// # Errors
    ///
    /// [`NotFound`](CommandError::NotFound), [`NotExecutable`](CommandError::NotExecutable) and
    /// [`IsDirectory`](CommandError::IsDirectory) for the program,
    /// [`CurrentDir`](CommandError::CurrentDir) for the directory,
    /// [`Malformed`](CommandError::Malformed) for strings that the system cannot pass on,
    /// [`TooFewDescriptors`](CommandError::TooFewDescriptors) if the limit on descriptors is too
    /// low for `children_max` children, [`LimitTooHigh`](CommandError::LimitTooHigh) and
    /// [`LimitUnsupported`](CommandError::LimitUnsupported) for limits,
    /// [`Cgroup`](CommandError::Cgroup) for a control group, [`NoShell`](CommandError::NoShell) for both,
    /// and [`Conflict`](CommandError::Conflict) for settings that exclude each other.
    pub fn build(self) -> Result<Command, CommandError> {
        self.check_strings()?;
        let path = program::find(&self.program, self.environment.path().as_deref())?;
        if let Some(dir) = &self.current_dir {
            let metadata = fs::metadata(dir);
            let found = metadata.and_then(|metadata| match metadata.is_dir() {
                true => Ok(()),
                false => Err(io::ErrorKind::NotADirectory.into()),
            });
            found.map_err(|source| CommandError::CurrentDir {
                path: dir.clone(),
                source,
            })?;
        }
        if let Some(arg) = sys::unpassable(&path, &self.args) {
            return Err(CommandError::Malformed {
                what: "argument of a batch file",
                value: arg.clone(),
            });
        }
        check_descriptors(self.children_max)?;
        if self.needs_shim() {
            self.check_shim(&path)?;
        } else {
            self.limits.check()?;
        }
        Ok(Command {
            inner: Arc::new(Checked { spec: self, path }),
        })
    }

    fn needs_shim(&self) -> bool {
        (!self.limits.is_none() && !sys::LIMITS_AT_START) || self.cgroup.is_some()
    }

    fn check_shim(&self, path: &Path) -> Result<(), CommandError> {
        let conflict = |first, second| Err(CommandError::Conflict { first, second });
        if self.arg0.is_some() {
            return conflict("arg0", "limits or a control group");
        }
        if let Some(cgroup) = self.cgroup.as_ref().filter(|_| sys::LIMITS_AT_START) {
            return Err(CommandError::Cgroup {
                path: cgroup.directory.clone(),
                problem: CgroupProblem::Unsupported,
            });
        }
        if self.cgroup.is_some() && self.scope == KillScope::Root {
            return conflict("`KillScope::Root`", "a control group");
        }
        shim::check(path)?;
        self.limits.check()?;
        let Some(cgroup) = &self.cgroup else {
            return Ok(());
        };
        cgroup.check().map_err(|problem| CommandError::Cgroup {
            path: cgroup.directory.clone(),
            problem,
        })
    }

    fn check_strings(&self) -> Result<(), CommandError> {
        let malformed = |what, value: &OsStr| {
            Err(CommandError::Malformed {
                what,
                value: value.to_owned(),
            })
        };
        let has_nul = |value: &OsStr| value.as_encoded_bytes().contains(&0);
        if self.program.is_empty() || has_nul(&self.program) {
            return malformed("program", &self.program);
        }
        if let Some(arg) = self.args.iter().chain(&self.arg0).find(|arg| has_nul(arg)) {
            return malformed("argument", arg);
        }
        self.environment.check()
    }
}

fn check_descriptors(children_max: usize) -> Result<(), CommandError> {
    let Some(limit) = sys::descriptor_limit() else {
        return Ok(());
    };
    let open = sys::descriptors_open();
    let needed = (children_max as u64).saturating_mul(DESCRIPTORS_PER_CHILD);
    if needed.saturating_add(open.unwrap_or(0)) <= limit {
        return Ok(());
    }
    Err(CommandError::TooFewDescriptors {
        children_max,
        needed,
        open,
        limit,
    })
}

/// Whether a guardian ends the child if this program ends before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Guarding {
    #[default]
    Guarded,
    Unguarded,
}

/// A checked [`CommandSpec`]. A clone is cheap and means the same command.
#[derive(Debug, Clone)]
pub struct Command {
    inner: Arc<Checked>,
}

#[derive(Debug)]
struct Checked {
    spec: CommandSpec,
    path: PathBuf,
}

impl Command {
    /// The file that will be executed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether a connector can use it: one needs stdout, and leaves stderr to the custodian.
    pub(crate) fn check_for_connector(&self) -> Result<(), CommandError> {
        let what = match (self.inner.spec.stdout, &self.inner.spec.stderr) {
            (StdoutEnd::Null, _) => "`discard_stdout`",
            (StdoutEnd::Pipe, StderrPolicy::Pipe) => "`StderrPolicy::Pipe`",
            (StdoutEnd::Pipe, _) => return Ok(()),
        };
        Err(CommandError::NotForConnectors { what })
    }

    pub(crate) fn name(&self) -> String {
        self.inner.spec.name.clone().unwrap_or_else(|| {
            let name = self.inner.path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        })
    }

    pub(crate) fn stderr_policy(&self) -> &StderrPolicy {
        &self.inner.spec.stderr
    }

    pub(crate) fn line_sink(&self) -> Option<&LineSink> {
        self.inner.spec.stderr_lines.as_ref()
    }

    pub(crate) fn scope(&self) -> KillScope {
        match self.inner.spec.cgroup {
            // Where the control group cannot be asked, as after this program's end, marks are looked for.
            Some(_) => KillScope::Tree,
            None => self.inner.spec.scope,
        }
    }

    pub(crate) fn cgroup(&self) -> Option<&CgroupSpec> {
        self.inner.spec.cgroup.as_ref()
    }

    pub(crate) fn times(&self) -> LadderTimes {
        self.inner.spec.times
    }

    /// What a shell is given to prepare the child, if something is to be prepared. Changes the environment
    /// that it begins with.
    pub(crate) fn shim_args(
        &self,
        cgroup: Option<&Path>,
        environment: &mut BTreeMap<OsString, OsString>,
    ) -> Option<Vec<OsString>> {
        let Checked { spec, path } = &*self.inner;
        let program = (path.as_path(), spec.args.as_slice());
        let args = || shim::args(&spec.limits, cgroup, program, environment);
        spec.needs_shim().then(args)
    }

    /// What the child is started with, in this environment, through a shell with these arguments.
    pub(crate) fn start<'a>(
        &'a self,
        shim_args: Option<&'a [OsString]>,
        environment: &'a BTreeMap<OsString, OsString>,
    ) -> Start<'a> {
        let spec = &self.inner.spec;
        let (program, args) = match shim_args {
            None => (self.inner.path.as_path(), spec.args.as_slice()),
            Some(args) => (Path::new(shim::SHELL), args),
        };
        Start {
            program,
            arg0: spec.arg0.as_deref(),
            args,
            environment,
            directory: spec.current_dir.as_deref(),
            stdout: spec.stdout,
            stderr: match spec.stderr {
                StderrPolicy::Ring { .. } | StderrPolicy::Pipe => StderrEnd::Pipe,
                StderrPolicy::Inherit => StderrEnd::Inherited,
                StderrPolicy::Null => StderrEnd::Null,
            },
            place: spec.place,
            mask: Mask::None,
            scope: self.scope(),
            limits: spec.limits.at_start(),
            ends_with_host: spec.guarding == Guarding::Guarded,
        }
    }

    pub(crate) fn guarding(&self) -> Guarding {
        self.inner.spec.guarding
    }

    /// All variables of the child.
    pub(crate) fn environment(&self, mark: Option<Mark>) -> BTreeMap<OsString, OsString> {
        self.inner.spec.environment.variables(mark)
    }

    /// Where the child starts, unless it is where this program is.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.inner.spec.current_dir.as_deref()
    }
}

/// For stdin, stdout, stderr, and the pidfd.
pub(crate) const DESCRIPTORS_PER_CHILD: u64 = 4;
