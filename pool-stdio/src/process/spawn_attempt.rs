//! One child that is being started: what is tried again, and what is undone if the start fails.
//!
//! A child is in a guard from the moment it exists: any failure or cancellation after that kills
//! and reaps it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::time::Duration;

use super::cgroup::NewCgroup;
use super::command::Command;
use super::cookie::Mark;
use super::spawn_error::SpawnError;
use super::sys::{self, OsErrorKind, Root, Spawned, StartError};

/// A child that nothing else knows yet. Dropping it kills and reaps it.
pub(super) struct SpawnGuard {
    spawned: Option<Spawned>,
}

impl SpawnGuard {
    pub(super) fn start(
        command: &Command,
        mark: Option<Mark>,
        cgroup: Option<&NewCgroup>,
        chance: &RandomState,
    ) -> Result<Self, SpawnError> {
        let mut environment = command.environment(mark);
        let shim_args = command.shim_args(cgroup.map(NewCgroup::path), &mut environment);
        let start = command.start(shim_args.as_deref(), &environment);
        let spawned = retry_briefly(chance, sys::pause, || sys::spawn(&start));
        match spawned {
            Ok(spawned) => Ok(Self {
                spawned: Some(spawned),
            }),
            Err(Failure { error, attempts }) => Err(match error {
                StartError::System(error) => SpawnError::from_system(command, error, attempts),
                StartError::Directory(source) => {
                    let path = command.directory().unwrap_or_else(|| command.path());
                    SpawnError::CurrentDir {
                        path: path.display().to_string(),
                        source,
                    }
                }
            }),
        }
    }

    pub(super) fn adopt_root(&self) -> io::Result<Root> {
        let spawned = self.spawned.as_ref();
        Root::of(spawned.expect("it is there until the guard is consumed"))
    }

    pub(super) fn unblock(&self) -> io::Result<()> {
        self.spawned.as_ref().map_or(Ok(()), Spawned::unblock)
    }

    pub(super) fn release(mut self) -> Spawned {
        self.spawned
            .take()
            .expect("it is there until the guard is consumed")
    }
}

impl Drop for SpawnGuard {
    fn drop(&mut self) {
        if let Some(spawned) = &self.spawned {
            spawned.abandon();
        }
    }
}

/// What an attempt to start a child said last, and how many there were.
#[derive(Debug)]
struct Failure {
    error: StartError,
    attempts: u32,
}

/// Retries for about 30 ms after a failure that can pass in a moment: a fork of another thread still
/// has the program file open for writing, or the system has no process to give.
fn retry_briefly<T>(
    chance: &RandomState,
    pause: impl Fn(Duration),
    mut attempt: impl FnMut() -> Result<T, StartError>,
) -> Result<T, Failure> {
    let mut attempts = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let is_brief = match &error {
            StartError::System(error) => matches!(
                sys::os_error_kind(error),
                OsErrorKind::Busy | OsErrorKind::ProcessLimit
            ),
            StartError::Directory(_) => false,
        };
        if !is_brief || attempts == ATTEMPTS_MAX {
            return Err(Failure { error, attempts });
        }
        let step = 1000 << (attempts - 1);
        let jitter = chance.hash_one(attempts) % step;
        pause(Duration::from_micros(step / 2 + jitter / 2));
        attempts += 1;
    }
}

/// With pauses of 1, 2, 4, 8 and 16 ms at most in between.
const ATTEMPTS_MAX: u32 = 6;

#[cfg(all(test, unix))]
mod tests;
