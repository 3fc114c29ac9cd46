//! What a program's name can mean on this system, and which variables are the same.
//!
//! Windows tries endings, and does not tell `Path` from `PATH`. The rules are pure, and tested on
//! every system.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The files that a path can mean, in order.
#[cfg(unix)]
pub(crate) fn candidates(path: PathBuf) -> Vec<PathBuf> {
    vec![path]
}

/// The files that a path can mean, in order.
#[cfg(windows)]
pub(crate) fn candidates(path: PathBuf) -> Vec<PathBuf> {
    let endings = std::env::var_os("PATHEXT");
    with_endings(
        path,
        endings.as_deref().unwrap_or(OsStr::new(DEFAULT_ENDINGS)),
    )
}

/// A name that has one of the endings means that file first. Any other name means what it is with an
/// ending: npm puts a script for other systems beside `npx.cmd`, which is called `npx`.
#[cfg(any(windows, test))]
fn with_endings(path: PathBuf, endings: &OsStr) -> Vec<PathBuf> {
    let endings = endings.to_string_lossy();
    let endings = endings.split(';').map(str::trim).filter(|ending| {
        ending
            .strip_prefix('.')
            .is_some_and(|rest| !rest.is_empty())
    });
    let endings: Vec<&str> = endings.collect();
    let name = path.as_os_str().to_string_lossy();
    let has_ending = endings.iter().any(|ending| {
        let at = name.len().checked_sub(ending.len());
        let end = at.and_then(|at| name.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(ending))
    });
    let longer = endings.iter().map(|ending| {
        let mut longer = path.clone().into_os_string();
        longer.push(ending.to_ascii_lowercase());
        PathBuf::from(longer)
    });
    let longer: Vec<PathBuf> = longer.collect();
    let own = has_ending.then(|| path.clone());
    own.into_iter().chain(longer).collect()
}

/// Whether `cmd.exe` runs the file.
#[cfg(any(windows, test))]
pub(crate) fn is_batch(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("cmd") || ending.eq_ignore_ascii_case("bat")
}

/// An argument that cannot be given to the program, if there is one.
#[cfg(unix)]
pub(crate) const fn unpassable<'a>(_: &Path, _: &'a [OsString]) -> Option<&'a OsString> {
    None
}

/// An argument that cannot be given to the program, if there is one.
#[cfg(windows)]
pub(crate) fn unpassable<'a>(program: &Path, args: &'a [OsString]) -> Option<&'a OsString> {
    use std::os::windows::ffi::OsStrExt;
    let can_reach = |arg: &OsString| {
        let units: Vec<u16> = arg.encode_wide().collect();
        super::windows::can_reach_batch(&units)
    };
    args.iter().find(|arg| is_batch(program) && !can_reach(arg))
}

/// Whether two names mean the same variable.
#[cfg(unix)]
pub(crate) fn is_same_variable(one: &OsStr, other: &OsStr) -> bool {
    one == other
}

/// Whether two names mean the same variable.
#[cfg(windows)]
pub(crate) fn is_same_variable(one: &OsStr, other: &OsStr) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Removes the variable that the name means.
#[cfg(unix)]
pub(crate) fn remove_variable(all: &mut BTreeMap<OsString, OsString>, name: &OsStr) {
    all.remove(name);
}

/// Removes the variable that the name means.
#[cfg(windows)]
pub(crate) fn remove_variable(all: &mut BTreeMap<OsString, OsString>, name: &OsStr) {
    all.retain(|other, _| !is_same_variable(other, name));
}

/// Whether a file can be executed is seen when that is tried.
#[cfg(windows)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same signature on every system"
)]
pub(crate) const fn check_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Where the C library looks without a `PATH`.
#[cfg(unix)]
pub(crate) const DEFAULT_PATH: &[&str] = &["/bin", "/usr/bin"];

/// Nothing is looked up without a `PATH`.
#[cfg(windows)]
pub(crate) const DEFAULT_PATH: &[&str] = &[];

#[cfg(windows)]
const DEFAULT_ENDINGS: &str = ".COM;.EXE;.BAT;.CMD";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<String> {
        let found = with_endings(PathBuf::from(path), OsStr::new(".COM;.EXE; .CMD;;."));
        found
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn a_bare_name_never_means_the_script_without_an_ending() {
        assert_eq!(names("npx"), ["npx.com", "npx.exe", "npx.cmd"]);
        assert_eq!(names("tool.1"), ["tool.1.com", "tool.1.exe", "tool.1.cmd"]);
    }

    #[test]
    fn a_name_with_an_ending_means_that_file_first() {
        assert_eq!(names("node.EXE")[..2], ["node.EXE", "node.EXE.com"]);
        assert_eq!(names("é.cmd")[0], "é.cmd");
    }

    #[test]
    fn only_batch_files_are_run_by_their_shell() {
        for path in ["a.cmd", "a.BAT", "a.b.Cmd"] {
            assert!(is_batch(Path::new(path)), "{path}");
        }
        for path in ["a.exe", "cmd", "a.cmd.exe", ".bat"] {
            assert!(!is_batch(Path::new(path)), "{path}");
        }
    }
}
