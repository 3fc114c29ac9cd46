//! The call of `posix_spawn` itself, with the program, its arguments and its environment.

#![expect(unsafe_code, reason = "nix's module has no borrowed actions")]

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::spawn::Start;

/// The strings of a call.
#[derive(Debug)]
pub(super) struct SpawnCall {
    program: CString,
    args: Vec<CString>,
    variables: Vec<CString>,
}

impl SpawnCall {
    pub(super) fn new(start: &Start<'_>) -> io::Result<Self> {
        let program = c_string(start.program.as_os_str())?;
        let args = std::iter::once(start.arg0.unwrap_or(start.program.as_os_str()))
            .chain(start.args.iter().map(std::ffi::OsString::as_os_str))
            .map(c_string)
            .collect::<io::Result<_>>()?;
        let variables = start
            .environment
            .iter()
            .map(|(name, value)| {
                let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
                CString::new(entry).map_err(io::Error::from)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            program,
            args,
            variables,
        })
    }

    /// Starts the child and returns its pid. Actions and attributes must have been initialized.
    pub(super) fn make(
        &self,
        actions: *const libc::posix_spawn_file_actions_t,
        attributes: *const libc::posix_spawnattr_t,
    ) -> io::Result<u32> {
        let argv = pointers(&self.args);
        let envp = pointers(&self.variables);
        let mut pid: libc::pid_t = 0;
        // SAFETY: every pointer is to memory that lives until the end of this function, and the lists
        // end with a null pointer. The call does not write to strings.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.program.as_ptr(),
                actions,
                attributes,
                argv.as_ptr(),
                envp.as_ptr(),
            )
        };
        check(error)?;
        u32::try_from(pid).map_err(io::Error::other)
    }
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr().cast_mut());
    pointers.chain([ptr::null_mut()]).collect()
}

fn c_string(string: &OsStr) -> io::Result<CString> {
    Ok(CString::new(string.as_bytes())?)
}

/// The functions of this family return their error.
pub(super) fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}
