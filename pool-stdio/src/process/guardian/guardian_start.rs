//! How a guardian is started: this program itself, if its `main` calls `guard_main`, or a shell with a script.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::guard_main;
use super::told::steps;
use crate::process::cookie;
use crate::process::sys::{
    self, Mask, PipeEnd, Place, Root, Spawned, Start, StartError, StartLimits, StderrEnd, StdoutEnd,
};
use crate::process::terminate::KillScope;

pub(super) fn start_guardian(grace: Duration) -> io::Result<(PipeEnd, Arc<Root>)> {
    let own = guard_main::own_program();
    let host = cookie::host().into();
    let steps = steps(grace).to_string().into();
    let (program, args, environment) = match &own {
        Some(program) => {
            let inherited = env::vars_os().filter(|(name, _)| name != cookie::COOKIE_VARIABLE);
            let marked = inherited.chain([(guard_main::VARIABLE.into(), "1".into())]);
            (program.as_path(), vec![host, steps], marked.collect())
        }
        None => {
            let path = env::var("PATH").unwrap_or_default();
            let path = OsString::from(format!("{path}:/usr/bin:/bin:/usr/sbin:/sbin"));
            let script = ["-c", SCRIPT, "sh"].map(OsString::from);
            let args = script.into_iter().chain([host, steps]).collect();
            (
                Path::new("/bin/sh"),
                args,
                BTreeMap::from([("PATH".into(), path)]),
            )
        }
    };
    let spawned = sys::spawn(&Start {
        program,
        arg0: None,
        args: &args,
        environment: &environment,
        directory: None,
        stdout: StdoutEnd::Null,
        stderr: StderrEnd::Null,
        place: Place::Group,
        mask: Mask::All,
        scope: KillScope::Group,
        limits: StartLimits::default(),
        ends_with_host: false,
    });
    let spawned = match spawned {
        Ok(spawned) => spawned,
        Err(StartError::System(error) | StartError::Directory(error)) => return Err(error),
    };
    let root = spawned.unblock().and_then(|()| Root::of(&spawned));
    match root {
        Ok(root) => {
            let Spawned { stdin, .. } = spawned;
            sys::enlarge_pipe(stdin.as_fd(), PIPE_BYTES);
            Ok((stdin, Arc::new(root)))
        }
        Err(error) => {
            spawned.abandon();
            Err(error)
        }
    }
}

const SCRIPT: &str = include_str!("guard.sh");
/// Room for what tens of thousands of children need to be told again.
const PIPE_BYTES: i32 = 1 << 20;
