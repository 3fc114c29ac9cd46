//! Control groups of Linux (cgroup v2). Each child that is to have one gets a group of its own, in a
//! directory that is delegated to this program.
//!
//! A process is in the group of its parent, and cannot leave it without rights over both groups. So
//! what is in the group is all that the child started, and one write kills it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The control group of one child.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// One that was made, or is about to be.
    #[cfg(unix)]
    pub(crate) fn at(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }

    /// Kills all that is in it. Where the system cannot, nothing happens: those that are found are killed
    /// one by one.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // Order: not created. A kernel without this file would refuse that, and not say that it has none.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).open(self.path.join("cgroup.kill"));
        or_gone(file.and_then(|mut file| file.write_all(b"1")), ())
    }

    /// Those in it and below it that live. One that cannot be named is 0.
    pub(crate) fn processes(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        add_processes(&self.path, &mut found)?;
        if found.is_empty() && self.is_populated()? {
            found.push(0);
        }
        Ok(found)
    }

    /// Whether a process lives in it or below it.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        let events = fs::read_to_string(self.path.join("cgroup.events"));
        let events = or_gone(events, String::new())?;
        Ok(events.lines().any(|line| line == "populated 1"))
    }

    /// The memory of all that is in it, if it is counted.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path.join("memory.current")).ok()?;
        text.trim().parse().ok()
    }

    /// Removes it, with the groups that the child made in it. One with a living process stays. Says whether it has gone.
    pub(crate) fn remove(&self) -> bool {
        remove(&self.path)
    }
}

fn add_processes(path: &Path, found: &mut Vec<u32>) -> io::Result<()> {
    let members = or_gone(fs::read_to_string(path.join(MEMBERS)), String::new())?;
    found.extend(members.lines().map(|pid| pid.parse().unwrap_or(0)));
    for below in groups_in(path)? {
        add_processes(&below, found)?;
    }
    Ok(())
}

fn groups_in(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = or_gone(fs::read_dir(path).map(Some), None)?;
    let entries = entries.into_iter().flatten().flatten();
    let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(groups.map(|entry| entry.path()).collect())
}

fn remove(path: &Path) -> bool {
    if fs::remove_dir(path).is_ok() {
        return true;
    }
    for below in groups_in(path).unwrap_or_default() {
        remove(&below);
    }
    match fs::remove_dir(path) {
        // The kind of this error does not say it: on a read-only mount it is the same for one that is not there.
        Err(error) if !is_gone(path) => {
            tracing::debug!(target: "pool_stdio", ?path, %error, "a control group is left");
            false
        }
        Ok(()) | Err(_) => true,
    }
}

/// Whether there is no such group. One that cannot be looked at may be there.
fn is_gone(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let looked = fs::symlink_metadata(path);
    looked.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// What is to be taken if the group has gone, or has no such file.
fn or_gone<T>(done: io::Result<T>, gone: T) -> io::Result<T> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(gone),
        // A file that was open when its group was removed.
        Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(gone),
        done => done,
    }
}

/// The group of a child that is being started. Dropping it removes it.
#[derive(Debug)]
pub(super) struct NewCgroup(Option<Cgroup>);

impl NewCgroup {
    pub(super) fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self(Some(Cgroup { path })))
    }

    pub(super) fn path(&self) -> &Path {
        let cgroup = self.0.as_ref();
        &cgroup.expect("it is there until the child is").path
    }

    /// It stays: the child is there.
    pub(super) fn keep(mut self) -> Cgroup {
        self.0.take().expect("it is there until the child is")
    }
}

impl Drop for NewCgroup {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            // The start can have failed when the child was there already.
            let (Ok(()) | Err(_)) = cgroup.kill();
            cgroup.remove();
        }
    }
}

/// The file of a group that lists its processes, and takes a process in.
pub(super) const MEMBERS: &str = "cgroup.procs";
/// The same number on every system that has control groups.
const ENODEV: i32 = 19;

#[cfg(test)]
mod tests;
