//! How the descendants of a child are marked, so that they are found after they left its process
//! group, and after this program has gone: by an element of an environment variable that every one of
//! them inherits.
//!
//! An element is `HOST-CHILDs`: the program that started the child, the child's number in it, and a
//! letter for the scope of its termination: `r`, `g` or `t`, or `u` for a tree that is to outlive this program.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use super::record::ChildId;
use super::terminate::KillScope;

/// An element of the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) child: ChildId,
    pub(crate) scope: KillScope,
    /// Whether it is to be ended when this program has gone.
    pub(crate) is_guarded: bool,
}

impl Mark {
    /// What the variable is for a child. This program may have been started with a cookie of its own.
    /// It passes that on, so that whoever started it still finds our children too.
    pub(crate) fn variable(self) -> OsString {
        let mut value = env::var_os(COOKIE_VARIABLE).unwrap_or_default();
        if !value.is_empty() {
            value.push(":");
        }
        value.push(self.element(&HOST));
        value
    }

    fn element(self, host: &str) -> String {
        let letter = if self.is_guarded {
            letter(self.scope)
        } else {
            UNGUARDED_TREE
        };
        format!("{host}-{}{letter}", self.child.0)
    }

    fn parse(element: &[u8], host: &str) -> Option<Self> {
        let rest = element.strip_prefix(host.as_bytes())?.strip_prefix(b"-")?;
        let (letter, number) = rest.split_last()?;
        Some(Self {
            child: ChildId(std::str::from_utf8(number).ok()?.parse().ok()?),
            scope: match letter {
                b'r' => KillScope::Root,
                b'g' => KillScope::Group,
                b't' | b'u' => KillScope::Tree,
                _ => return None,
            },
            is_guarded: *letter != b'u',
        })
    }
}

/// Of those that are not guarded, trees alone are marked: their terminations need it.
const UNGUARDED_TREE: char = 'u';

pub(crate) const fn letter(scope: KillScope) -> char {
    match scope {
        KillScope::Root => 'r',
        KillScope::Group => 'g',
        KillScope::Tree => 't',
    }
}

/// The name of this program in elements. The random part tells it from an earlier one that had the
/// same pid.
pub(crate) fn host() -> &'static str {
    &HOST
}

/// The elements of a host in an environment block.
pub(crate) fn marks_in<'a>(environ: &'a [u8], host: &'a str) -> impl Iterator<Item = Mark> + 'a {
    let entries = environ.split(|byte| *byte == 0);
    let values = entries
        .filter_map(|entry| entry.strip_prefix(COOKIE_VARIABLE.as_bytes()))
        .filter_map(|entry| entry.strip_prefix(b"="));
    let elements = values.flat_map(|value| value.split(|byte| *byte == b':'));
    elements.filter_map(move |element| Mark::parse(element, host))
}

static HOST: LazyLock<String> = LazyLock::new(|| {
    let pid = std::process::id();
    format!("{pid}-{:016x}", RandomState::new().hash_one(pid))
});

/// The environment variable that holds the cookies of a process, its ancestors' first.
pub(crate) const COOKIE_VARIABLE: &str = "POOL_STDIO_COOKIE";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(environ: &str) -> Vec<(u64, KillScope)> {
        let marks = marks_in(environ.as_bytes(), "me");
        marks.map(|mark| (mark.child.0, mark.scope)).collect()
    }

    #[test]
    fn a_mark_is_found_as_a_whole_element_of_its_own_variable_only() {
        let name = COOKIE_VARIABLE;
        assert_eq!(
            found(&format!("A=1\0{name}=me-3t\0B=2\0")),
            [(3, KillScope::Tree)]
        );
        assert_eq!(
            found(&format!("{name}=you-1t:me-2g:me-4r:you-3t\0")),
            [(2, KillScope::Group), (4, KillScope::Root)]
        );
        for environ in [
            format!("{name}=you-1t\0A=me-2t\0"),
            format!("{name}=me2-1t:some-2t:me-t:me-:me-xt:me-1:me-1x\0"),
            format!("{name}X=me-1t\0"),
            format!("X{name}=me-1t\0"),
            String::new(),
        ] {
            assert!(found(&environ).is_empty(), "{environ}");
        }
    }

    #[test]
    fn a_mark_is_found_again() {
        let guarded =
            [KillScope::Root, KillScope::Group, KillScope::Tree].map(|scope| (scope, true));
        for (scope, is_guarded) in guarded.into_iter().chain([(KillScope::Tree, false)]) {
            let mark = Mark {
                child: ChildId(7),
                scope,
                is_guarded,
            };
            assert_eq!(Mark::parse(mark.element("me").as_bytes(), "me"), Some(mark));
            let ours = mark.variable().into_string().expect("it is ASCII");
            let environ = format!("{COOKIE_VARIABLE}={ours}\0");
            assert_eq!(marks_in(environ.as_bytes(), host()).last(), Some(mark));
        }
    }
}
