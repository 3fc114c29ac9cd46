//! Which file a program's name means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::command_error::CommandError;
use super::sys;

/// Finds the file. A path is taken as it is, relative to where this program is; a bare name is looked
/// up in the absolute directories of `search_path`, as the child would.
pub(crate) fn find(program: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, CommandError> {
    if Path::new(program).components().count() > 1 || program == "." {
        let source = |source| CommandError::CurrentDir {
            path: PathBuf::from("."),
            source,
        };
        let path = std::path::absolute(program).map_err(source)?;
        return first_of(&path);
    }
    let looked_in: Vec<PathBuf> = match search_path {
        Some(path) => env::split_paths(path)
            .filter(|dir| dir.is_absolute())
            .collect(),
        None => sys::DEFAULT_PATH.iter().map(PathBuf::from).collect(),
    };
    let mut refused = None;
    for dir in &looked_in {
        match first_of(&dir.join(program)) {
            Ok(path) => return Ok(path),
            Err(CommandError::NotFound { .. }) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let program = PathBuf::from(program);
    Err(refused.unwrap_or(CommandError::NotFound { program, looked_in }))
}

/// The first file of those that the path can mean. One that cannot be executed counts if there is no
/// other.
fn first_of(path: &Path) -> Result<PathBuf, CommandError> {
    let mut refused = None;
    for candidate in sys::candidates(path.to_owned()) {
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(CommandError::NotFound { .. }) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(CommandError::NotFound {
        program: path.to_owned(),
        looked_in: Vec::new(),
    }))
}

fn check(path: &Path) -> Result<(), CommandError> {
    let not_found = || CommandError::NotFound {
        program: path.to_owned(),
        looked_in: Vec::new(),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_found()),
        Err(source) => {
            return Err(CommandError::NotExecutable {
                path: path.to_owned(),
                source,
            });
        }
    };
    if metadata.is_dir() {
        return Err(CommandError::IsDirectory {
            path: path.to_owned(),
        });
    }
    sys::check_executable(path).map_err(|source| CommandError::NotExecutable {
        path: path.to_owned(),
        source,
    })
}
