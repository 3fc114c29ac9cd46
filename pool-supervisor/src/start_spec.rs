//! What a `spawn` asks for as a command, and why a command does not start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pool_stdio::{
    Command, CommandError, CommandSpec, KillScope, LadderTimes, ProcessLimits, SpawnError,
    StderrPolicy,
};

use crate::entry::EntrySettings;
use crate::limits::KEPT_BYTES;
use crate::look_ups::{
    LOOK_UP_LIMIT, LOOK_UPS_MAX, LookUpFailure, LookUps, SAME_LOOK_UPS_MAX, WAIT_LIMIT,
};
use crate::protocol::{
    ChildLimits, Fault, FaultKind, Ladder, NAME_BYTES_MAX, Scope, SpawnParams, StderrMode,
    StdoutMode,
};

/// Checks what can be checked without asking the file system.
///
/// # Errors
///
/// What is wrong with the request.
pub(crate) fn check(params: &SpawnParams) -> Result<(), Fault> {
    if params.child.is_empty() || params.child.len() > NAME_BYTES_MAX {
        let message = format!("`child` must have 1 to {NAME_BYTES_MAX} bytes");
        return Err(Fault::new(FaultKind::InvalidParams, message));
    }
    if !Path::new(&params.cwd).is_absolute() {
        let message = "`cwd` must be an absolute path: the host's own, if nothing else is meant";
        return Err(Fault::new(FaultKind::InvalidParams, message));
    }
    let refuse = |message: &str| Err(Fault::new(FaultKind::InvalidParams, message));
    let named = params.argv.as_deref().and_then(<[String]>::first);
    if has_limits(params) && params.argv0.is_some() && params.argv0.as_ref() != named {
        return refuse("`argv0` cannot be given with `limits`");
    }
    match (&params.argv, &params.shell) {
        (Some(argv), None) if argv.is_empty() => refuse("`argv` must have at least the program"),
        (Some(_), None) if params.shell_path.is_some() => {
            refuse("`shellPath` goes with `shell`, not with `argv`")
        }
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) | (None, None) => {
            refuse("exactly one of `argv` and `shell` must be given")
        }
    }
}

/// What is asked for, once for each file that its program can mean, in order.
pub(crate) fn specs(params: &SpawnParams) -> Vec<CommandSpec> {
    if let Some(script) = &params.shell {
        let shell = params.shell_path.as_deref().unwrap_or(SHELL);
        let args: Vec<String> = SHELL_ARGS.iter().map(|arg| (*arg).to_owned()).collect();
        let args = [args, vec![script.clone()]].concat();
        let argv0 = params.argv0.as_deref().unwrap_or(shell);
        let spec = spec(params, Path::new(shell), &args);
        return vec![with_arg0(params, spec, argv0)];
    }
    let argv = params.argv.as_deref().unwrap_or_default();
    let Some((program, args)) = argv.split_first() else {
        return Vec::new();
    };
    let argv0 = params.argv0.as_ref().unwrap_or(program);
    let files = files(program, params);
    let specs = files
        .iter()
        .map(|file| with_arg0(params, spec(params, file, args), argv0));
    specs.collect()
}

/// What sets limits executes the program by its path.
fn with_arg0(params: &SpawnParams, spec: CommandSpec, argv0: &str) -> CommandSpec {
    if has_limits(params) {
        spec
    } else {
        spec.arg0(argv0)
    }
}

fn has_limits(params: &SpawnParams) -> bool {
    params.limits != ChildLimits::default()
}

/// The files that a program's name can mean. The child looks for a relative path in its own directory, as
/// a shell there would. One bare name is left to the child layer, which looks it up in `PATH`, unless that
/// has relative entries: those mean folders in the child's directory.
fn files(program: &str, params: &SpawnParams) -> Vec<PathBuf> {
    let cwd = Path::new(&params.cwd);
    if program.contains(std::path::is_separator) {
        return vec![cwd.join(program)];
    }
    let is_path =
        |name: &str| name == "PATH" || (cfg!(windows) && name.eq_ignore_ascii_case("PATH"));
    let path = params.env.iter().find(|(name, _)| is_path(name));
    let entries = path.map(|(_, path)| std::env::split_paths(path));
    let entries: Vec<PathBuf> = entries.into_iter().flatten().collect();
    if entries.iter().all(|entry| entry.is_absolute()) {
        return vec![PathBuf::from(program)];
    }
    let files = entries.iter().map(|entry| cwd.join(entry).join(program));
    files.collect()
}

/// The same as a script for a shell, if the system did not know how to execute it: so does `execvp`.
pub(crate) fn as_script(
    params: &SpawnParams,
    command: &Command,
    error: &SpawnError,
) -> Option<CommandSpec> {
    let source = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    let (_, args) = params.argv.as_deref()?.split_first()?;
    if errno(source) != Some("ENOEXEC") {
        return None;
    }
    let path = command.path().to_str()?.to_owned();
    let args: Vec<String> = std::iter::once(path).chain(args.iter().cloned()).collect();
    Some(spec(params, Path::new("/bin/sh"), &args))
}

/// A program with arguments, with all else that is asked for.
fn spec(params: &SpawnParams, program: &Path, args: &[String]) -> CommandSpec {
    let mut spec = CommandSpec::new(program)
        .args(args)
        .env_only([""; 0])
        .current_dir(&params.cwd)
        .kill_scope(match params.scope {
            Scope::Root => KillScope::Root,
            Scope::Group => KillScope::Group,
            Scope::Tree => KillScope::Tree,
        })
        .ladder_times(times(&params.ladder))
        .limits(limits(params.limits))
        .stderr(match params.stdio.stderr {
            StderrMode::Pipe => StderrPolicy::Pipe,
            StderrMode::Null => StderrPolicy::Null,
            StderrMode::Log => StderrPolicy::Inherit,
        });
    for (name, value) in &params.env {
        spec = spec.env(name, value);
    }
    if params.stdio.stdout == StdoutMode::Null {
        spec = spec.discard_stdout();
    }
    if params.session {
        spec = spec.session();
    }
    spec
}

/// Looks the program up: the first that can be started counts, or else the first that is there. The file
/// system can hang, and then delays nobody else.
///
/// # Errors
///
/// If there is no such program or directory, or the file system does not answer.
pub(crate) async fn look_up(
    look_ups: &LookUps,
    params: &SpawnParams,
    specs: Vec<CommandSpec>,
) -> Result<Command, Fault> {
    let found = look_ups.run(subject(params), move || build(specs)).await;
    found.unwrap_or_else(|failure| Err(no_answer(failure)))
}

/// What the file system is asked for.
fn subject(params: &SpawnParams) -> String {
    let named = params.argv.as_deref().and_then(<[String]>::first);
    let program = named.or(params.shell_path.as_ref());
    let path = params.env.get("PATH");
    let parts = [Some(&params.cwd), program, path];
    parts.map(|part| part.map_or("", String::as_str)).join("\0")
}

fn no_answer(failure: LookUpFailure) -> Fault {
    let what = match failure {
        LookUpFailure::Hangs => format!("the file system did not answer within {LOOK_UP_LIMIT:?}"),
        LookUpFailure::SameHang => format!(
            "the file system has not answered {SAME_LOOK_UPS_MAX} earlier starts of this program in this \
             `cwd`"
        ),
        LookUpFailure::ManyHang => {
            format!(
                "the file system has not answered {LOOK_UPS_MAX} earlier starts of other programs"
            )
        }
        LookUpFailure::NotBegun => format!(
            "the program was not looked up within {WAIT_LIMIT:?}, because the look-ups of earlier starts are slow, \
             or this program has no thread for it"
        ),
    };
    let message = format!("{what}: does a mount hang that the program, `cwd` or `PATH` is on?");
    Fault::new(FaultKind::Resources, message).transient(true)
}

fn build(specs: Vec<CommandSpec>) -> Result<Command, Fault> {
    let mut refused: Option<CommandError> = None;
    for spec in specs {
        match spec.build() {
            Ok(command) => return Ok(command),
            Err(error) => {
                let is_first = refused.is_none();
                let was_missing = matches!(refused, Some(CommandError::NotFound { .. }));
                if is_first || was_missing {
                    refused = Some(error);
                }
            }
        }
    }
    Err(refused.map_or_else(
        || Fault::new(FaultKind::ProgramNotFound, "there is no program").errno(Some("ENOENT")),
        |error| command_fault(&error),
    ))
}

/// What the supervisor itself has to know of the child.
pub(crate) fn settings(params: &SpawnParams) -> EntrySettings {
    let times = times(&params.ladder);
    let kept = params.keep.bytes_max.unwrap_or(KEPT_BYTES as u64);
    EntrySettings {
        kept_bytes_max: usize::try_from(kept).unwrap_or(usize::MAX).max(1),
        when_full: params.keep.when_full,
        after_exit: params.after_exit,
        drain_timeout: times.drain_timeout,
        drain_idle: times.drain_idle,
        timeout: params.timeout_ms.map(millis),
        is_in_session: params.session,
    }
}

fn limits(asked: ChildLimits) -> ProcessLimits {
    let mut limits = ProcessLimits::default();
    limits.address_space_bytes = asked.address_space_bytes;
    limits.cpu_time = asked.cpu_ms.map(millis);
    limits.open_files = asked.open_files;
    limits
}

fn times(ladder: &Ladder) -> LadderTimes {
    let mut times = LadderTimes::default();
    let set = |time: &mut Duration, asked: Option<u64>| {
        if let Some(asked) = asked {
            *time = millis(asked);
        }
    };
    times.eof_grace = Duration::ZERO;
    set(&mut times.flush, ladder.flush_ms);
    set(&mut times.eof_grace, ladder.eof_grace_ms);
    set(&mut times.term_grace, ladder.term_grace_ms);
    set(&mut times.force_grace, ladder.force_grace_ms);
    set(&mut times.kill_wait, ladder.kill_wait_ms);
    set(&mut times.drain_timeout, ladder.drain_timeout_ms);
    set(&mut times.drain_idle, ladder.drain_idle_ms);
    times
}

/// So many milliseconds; more than a year counts as a year, which can be added to any time.
pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count.min(366 * 24 * 60 * 60 * 1000))
}

fn command_fault(error: &CommandError) -> Fault {
    let message = error.to_string();
    match error {
        CommandError::NotFound { .. } => {
            Fault::new(FaultKind::ProgramNotFound, message).errno(Some("ENOENT"))
        }
        CommandError::NotExecutable { .. } | CommandError::IsDirectory { .. } => {
            Fault::new(FaultKind::ProgramNotExecutable, message).errno(Some("EACCES"))
        }
        CommandError::CurrentDir { source, .. } => {
            let message = format!("{message}: {source}");
            Fault::new(FaultKind::Cwd, message).errno(errno(source))
        }
        CommandError::TooFewDescriptors { .. } => Fault::new(FaultKind::Resources, message)
            .errno(Some("EMFILE"))
            .transient(true),
        CommandError::Malformed { .. }
        | CommandError::LimitTooHigh { .. }
        | CommandError::LimitUnsupported { .. }
        | CommandError::Conflict { .. } => Fault::new(FaultKind::InvalidParams, message),
        CommandError::NotForConnectors { .. } | _ => Fault::new(FaultKind::SpawnFailed, message),
    }
}

/// Why a child was not started.
pub(crate) fn spawn_fault(error: &SpawnError) -> Fault {
    let kind = match error {
        SpawnError::NotFound { .. } => FaultKind::ProgramNotFound,
        SpawnError::NotExecutable { .. } => FaultKind::ProgramNotExecutable,
        SpawnError::ArgumentsTooLong { .. } => FaultKind::ArgumentsTooLong,
        SpawnError::CurrentDir { .. } => FaultKind::Cwd,
        SpawnError::ProcessLimit { .. }
        | SpawnError::Descriptors { .. }
        | SpawnError::Memory { .. }
        | SpawnError::QueueFull { .. }
        | SpawnError::Threads { .. } => FaultKind::Resources,
        SpawnError::Closed => FaultKind::ShuttingDown,
        SpawnError::Busy { .. }
        | SpawnError::Storage { .. }
        | SpawnError::Stalled { .. }
        | SpawnError::Forked
        | SpawnError::Other { .. }
        | _ => FaultKind::SpawnFailed,
    };
    let source = std::error::Error::source(error);
    let os_error = source.and_then(|source| source.downcast_ref::<io::Error>());
    let message = match os_error {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Fault::new(kind, message)
        .errno(os_error.and_then(errno))
        .transient(error.is_transient())
}

#[cfg(windows)]
fn errno(error: &io::Error) -> Option<&'static str> {
    let found = KINDS.iter().find(|(_, kind)| *kind == error.kind());
    found.map(|(name, _)| *name)
}

#[cfg(unix)]
fn errno(error: &io::Error) -> Option<&'static str> {
    // Made by the child layer, without the system.
    let is_no_directory = error.kind() == io::ErrorKind::NotADirectory;
    let number = error
        .raw_os_error()
        .or(is_no_directory.then_some(libc::ENOTDIR))?;
    let found = ERRNOS.iter().find(|(_, known)| *known == number);
    found.map(|(name, _)| *name)
}

/// The shell, and what it gets before the script.
#[cfg(unix)]
const SHELL: &str = "/bin/sh";
#[cfg(unix)]
const SHELL_ARGS: &[&str] = &["-c"];
#[cfg(windows)]
const SHELL: &str = "cmd.exe";
#[cfg(windows)]
const SHELL_ARGS: &[&str] = &["/d", "/s", "/c"];

/// The names that hosts know, for what Windows has a counterpart of.
#[cfg(windows)]
const KINDS: [(&str, io::ErrorKind); 5] = [
    ("E2BIG", io::ErrorKind::ArgumentListTooLong),
    ("EACCES", io::ErrorKind::PermissionDenied),
    ("ENOENT", io::ErrorKind::NotFound),
    ("ENOMEM", io::ErrorKind::OutOfMemory),
    ("ENOTDIR", io::ErrorKind::NotADirectory),
];

#[cfg(unix)]
const ERRNOS: [(&str, i32); 16] = [
    ("E2BIG", libc::E2BIG),
    ("EACCES", libc::EACCES),
    ("EAGAIN", libc::EAGAIN),
    ("EIO", libc::EIO),
    ("EISDIR", libc::EISDIR),
    ("ELOOP", libc::ELOOP),
    ("EMFILE", libc::EMFILE),
    ("ENAMETOOLONG", libc::ENAMETOOLONG),
    ("ENFILE", libc::ENFILE),
    ("ENOENT", libc::ENOENT),
    ("ENOEXEC", libc::ENOEXEC),
    ("ENOMEM", libc::ENOMEM),
    ("ENOTDIR", libc::ENOTDIR),
    ("EPERM", libc::EPERM),
    ("ESTALE", libc::ESTALE),
    ("ETXTBSY", libc::ETXTBSY),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_did_not_begin_is_not_said_to_hang() {
        let said = |failure| no_answer(failure).message;
        let was_blamed = |failure| said(failure).contains("has not answered");
        assert!(was_blamed(LookUpFailure::SameHang) && was_blamed(LookUpFailure::ManyHang));
        assert!(!was_blamed(LookUpFailure::NotBegun));
        assert!(said(LookUpFailure::NotBegun).contains("60s"));
    }
}
