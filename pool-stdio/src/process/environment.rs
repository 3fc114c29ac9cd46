//! Which variables a child has: those that it inherits, those that are set for it, and its mark.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::{env, fmt};

use super::command_error::CommandError;
use super::cookie::{COOKIE_VARIABLE, Mark};
use super::sys;

/// The environment that a child is to have.
#[derive(Clone, Default)]
pub(super) struct Environment {
    inherited: Inherited,
    /// `None` removes a variable.
    own: BTreeMap<OsString, Option<OsString>>,
}

/// Which variables of this program's environment a child inherits.
#[derive(Debug, Clone, Default)]
enum Inherited {
    #[default]
    All,
    Only(Vec<OsString>),
}

impl Environment {
    /// Sets a variable, or removes it, whether or not it would be inherited.
    pub(super) fn set(&mut self, name: OsString, value: Option<OsString>) {
        self.own.insert(name, value);
    }

    pub(super) fn inherit_only(&mut self, names: Vec<OsString>) {
        self.inherited = Inherited::Only(names);
    }

    /// Whether the system can pass on what is set.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        let has_nul = |value: &OsStr| value.as_encoded_bytes().contains(&0);
        for (name, value) in &self.own {
            let is_bad = name.is_empty() || name.as_encoded_bytes().contains(&b'=');
            if is_bad || has_nul(name) || value.as_deref().is_some_and(has_nul) {
                // The error shows the name: the value may be a secret.
                return Err(CommandError::Malformed {
                    what: "environment variable",
                    value: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The directories in which the child would look a name up, if it has a `PATH`.
    pub(super) fn path(&self) -> Option<OsString> {
        let name = OsStr::new("PATH");
        let mut own = self.own.iter();
        match own.find(|(own, _)| sys::is_same_variable(own, name)) {
            Some((_, path)) => path.clone(),
            None => env::var_os(name).filter(|path| self.inherits(name, path)),
        }
    }

    /// All variables of the child.
    pub(super) fn variables(&self, mark: Option<Mark>) -> BTreeMap<OsString, OsString> {
        let inherited = env::vars_os().filter(|(name, value)| self.inherits(name, value));
        let mut all: BTreeMap<_, _> = inherited.collect();
        for (name, value) in &self.own {
            sys::remove_variable(&mut all, name);
            if let Some(value) = value {
                all.insert(name.clone(), value.clone());
            }
        }
        if let Some(mark) = mark {
            all.insert(COOKIE_VARIABLE.into(), mark.variable());
        }
        all
    }

    fn inherits(&self, name: &OsStr, value: &OsStr) -> bool {
        match &self.inherited {
            Inherited::All => true,
            Inherited::Only(names) => {
                names
                    .iter()
                    .any(|allowed| sys::is_same_variable(allowed, name))
                    && !value.as_encoded_bytes().starts_with(b"()")
            }
        }
    }
}

// Not derived: the values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("inherited", &self.inherited)
            .field("names", &self.own.keys())
            .finish()
    }
}
