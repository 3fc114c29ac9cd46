//! The shell that prepares a child: it joins the child's control group, sets its limits, and executes the
//! program in its place. The pid, the group and the pipes stay, and nothing can be started before.
//!
//! A shell passes on only those variables whose names are names to it, and it changes some. They are given
//! to it under other names, and set by `env`, which then executes the program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::cgroup::MEMBERS;
use super::command_error::CommandError;
use super::limits::ProcessLimits;
use super::sys;

/// Whether there is a shell.
pub(super) fn check(program: &Path) -> Result<(), CommandError> {
    let shell = if cfg!(unix) {
        sys::check_executable(Path::new(SHELL))
    } else {
        Err(io::ErrorKind::Unsupported.into())
    };
    shell.map_err(|source| CommandError::NoShell { source })?;
    if program.as_os_str().as_encoded_bytes().contains(&b'=') {
        // For `env` it would be a variable.
        return Err(CommandError::Conflict {
            first: "a program with `=` in its path",
            second: "limits or a control group",
        });
    }
    Ok(())
}

/// What the shell is given to do it. Changes the environment that it begins with.
pub(super) fn args(
    limits: &ProcessLimits,
    cgroup: Option<&Path>,
    (program, args): (&Path, &[OsString]),
    environment: &mut BTreeMap<OsString, OsString>,
) -> Vec<OsString> {
    let mut script = String::new();
    if cgroup.is_some() {
        // `0` is the process that writes it.
        script.push_str(&format!(
            "if ! echo 0 > \"$1/{MEMBERS}\"; then \
             echo \"pool-stdio: cannot join the control group $1: the program that starts the children must \
             run as root, or in a group below the same delegated directory\" >&2; exit 126; fi; shift; "
        ));
    }
    for setting in limits.shell_commands() {
        script.push_str(&format!("{setting} || exit 126; "));
    }
    script.push_str(&hide(environment));
    script.push_str("exec \"$@\"");
    let fixed = [OsStr::new("-c"), OsStr::new(&script), OsStr::new("sh")];
    let fixed = fixed.into_iter().chain(cgroup.map(Path::as_os_str));
    let fixed = fixed.chain([program.as_os_str()]);
    fixed
        .map(OsStr::to_owned)
        .chain(args.iter().cloned())
        .collect()
}

/// Takes the variables out that the shell would lose or change. Returns the part of the script that has
/// them set again.
fn hide(environment: &mut BTreeMap<OsString, OsString>) -> String {
    let names = environment.keys().filter(|name| !is_kept(name));
    let names: Vec<OsString> = names.cloned().collect();
    let has_env = sys::check_executable(Path::new(ENV)).is_ok();
    if names.is_empty() || !has_env {
        return String::new();
    }
    let mut script = String::new();
    for (at, name) in names.into_iter().enumerate() {
        let Some(value) = environment.remove(&name) else {
            continue;
        };
        let (hidden_name, hidden_value) = (format!("{HIDDEN}{at}_N"), format!("{HIDDEN}{at}_V"));
        script.push_str(&format!(
            "set -- \"${{{hidden_name}}}=${{{hidden_value}}}\" \"$@\"; unset {hidden_name} {hidden_value}; "
        ));
        environment.insert(hidden_name.into(), name);
        environment.insert(hidden_value.into(), value);
    }
    script.push_str(&format!("set -- {ENV} -- \"$@\"; "));
    script
}

/// Whether every shell passes a variable of this name on as it is.
fn is_kept(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let is_name = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'0'..=b'9' => at > 0,
        byte => *byte == b'_' || byte.is_ascii_alphabetic(),
    });
    is_name
        && !bytes.starts_with(b"BASH")
        && !SPECIAL.iter().any(|special| special.as_bytes() == bytes)
}

pub(super) const SHELL: &str = "/bin/sh";
/// Without it variables are lost whose names are no names to the shell.
const ENV: &str = "/usr/bin/env";
/// Begins the names under which variables are given to the shell.
const HIDDEN: &str = "POOL_STDIO_HIDDEN_";
/// Names that mean something to a shell, but for `PWD`, `OLDPWD`, `SHLVL` and `_`, which it sets as it
/// should.
const SPECIAL: &[&str] = &[
    "DIRSTACK",
    "ENV",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "IFS",
    "LINENO",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "POSIXLY_CORRECT",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "UID",
];

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Whatever keeps a child from its group, as a user sees it.
    #[test]
    fn a_group_that_cannot_be_joined_ends_the_child_with_advice() {
        let words = [OsString::from("run")];
        let program = (Path::new("/bin/echo"), words.as_slice());
        let group = Path::new("/no/such/group");
        let args = args(
            &ProcessLimits::default(),
            Some(group),
            program,
            &mut BTreeMap::new(),
        );
        let run = std::process::Command::new(SHELL).args(args).output();
        let run = run.expect("there is a shell");
        assert_eq!((run.status.code(), run.stdout), (Some(126), Vec::new()));
        let said = String::from_utf8_lossy(&run.stderr);
        let advice = "cannot join the control group /no/such/group: the program that starts the children must";
        assert!(said.contains(advice), "{said}");
    }

    fn hidden(name: &str) -> bool {
        let mut environment = BTreeMap::from([(name.into(), "1".into())]);
        let script = hide(&mut environment);
        assert_eq!(
            environment.contains_key(OsStr::new(name)),
            script.is_empty()
        );
        !script.is_empty()
    }

    #[test]
    fn names_that_a_shell_loses_or_changes_are_hidden_from_it() {
        for name in [
            "my.var",
            "a-b",
            "1x",
            "a b",
            "\u{e9}",
            "IFS",
            "OPTIND",
            "BASH_FUNC_f%%",
        ] {
            assert!(hidden(name), "{name}");
        }
        for name in ["PATH", "_x1", "lower", "IFS2", "PWD"] {
            assert!(!hidden(name), "{name}");
        }
    }
}
