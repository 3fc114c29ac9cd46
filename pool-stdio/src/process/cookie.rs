//! How the descendants of a child are marked, so that they are found after they left its process
//! group: by an element of an environment variable that every one of them inherits.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher;

use super::record::ChildId;

/// The element that marks the descendants of one child and of no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    element: String,
}

impl Cookie {
    pub(crate) fn new(child: ChildId, chance: &RandomState) -> Self {
        let random = RandomState::new().hash_one((child.0, chance.hash_one(child.0)));
        Self {
            element: format!("{}-{}-{random:016x}", std::process::id(), child.0),
        }
    }

    /// What the variable is for the child. This program may have been started with a cookie of its
    /// own. It passes that on, so that whoever started it still finds our children too.
    pub(crate) fn value(&self) -> OsString {
        let mut value = env::var_os(COOKIE_VARIABLE).unwrap_or_default();
        if !value.is_empty() {
            value.push(":");
        }
        value.push(OsStr::new(&self.element));
        value
    }

    /// Whether an environment block, as `/proc` shows it, has this element.
    #[cfg_attr(
        all(not(test), any(not(target_os = "linux"), pool_stdio_portable)),
        expect(dead_code, reason = "only where environments can be read")
    )]
    pub(crate) fn is_in(&self, environ: &[u8]) -> bool {
        let entries = environ.split(|byte| *byte == 0);
        let values = entries
            .filter_map(|entry| entry.strip_prefix(COOKIE_VARIABLE.as_bytes()))
            .filter_map(|entry| entry.strip_prefix(b"="));
        values
            .flat_map(|value| value.split(|byte| *byte == b':'))
            .any(|element| element == self.element.as_bytes())
    }
}

/// The environment variable that holds the cookies of a process, its ancestors' first.
pub(crate) const COOKIE_VARIABLE: &str = "POOL_STDIO_COOKIE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_as_a_whole_element_of_its_own_variable_only() {
        let name = COOKIE_VARIABLE;
        let cookie = Cookie {
            element: "me".into(),
        };
        let has = |environ: &str| cookie.is_in(environ.as_bytes());
        assert!(has(&format!("A=1\0{name}=me\0B=2\0")));
        assert!(has(&format!("{name}=outer:me:inner\0")));
        assert!(!has(&format!("{name}=you\0A=me\0")));
        assert!(!has(&format!("{name}=me2:some\0")));
        assert!(!has(&format!("{name}X=me\0")));
        assert!(!has(&format!("X{name}=me\0")));
        assert!(!has(""));
    }
}
