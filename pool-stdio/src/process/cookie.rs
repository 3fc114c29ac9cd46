//! How the descendants of a child are marked, so that they are found after they left its process
//! group: by an element of an environment variable that every one of them inherits.
//!
//! An element is `HOST-CHILD`: the program that started the child, and the child's number in it.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use super::record::ChildId;

/// What the variable is for a child. This program may have been started with a cookie of its own. It
/// passes that on, so that whoever started it still finds our children too.
pub(crate) fn value_for(child: ChildId) -> OsString {
    let mut value = env::var_os(COOKIE_VARIABLE).unwrap_or_default();
    if !value.is_empty() {
        value.push(":");
    }
    value.push(element(&HOST, child));
    value
}

/// The children of this program that a process descends from, as its environment says.
pub(crate) fn children_in(environ: &[u8]) -> Vec<ChildId> {
    children_of_host(environ, &HOST)
}

fn element(host: &str, child: ChildId) -> String {
    format!("{host}-{}", child.0)
}

fn children_of_host(environ: &[u8], host: &str) -> Vec<ChildId> {
    let entries = environ.split(|byte| *byte == 0);
    let values = entries
        .filter_map(|entry| entry.strip_prefix(COOKIE_VARIABLE.as_bytes()))
        .filter_map(|entry| entry.strip_prefix(b"="));
    let elements = values.flat_map(|value| value.split(|byte| *byte == b':'));
    let numbers = elements.filter_map(|element| {
        let number = element.strip_prefix(host.as_bytes())?.strip_prefix(b"-")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    });
    numbers.map(ChildId).collect()
}

/// This program. The random part tells it from an earlier one that had the same pid.
static HOST: LazyLock<String> = LazyLock::new(|| {
    let pid = std::process::id();
    format!("{pid}-{:016x}", RandomState::new().hash_one(pid))
});

/// The environment variable that holds the cookies of a process, its ancestors' first.
pub(crate) const COOKIE_VARIABLE: &str = "POOL_STDIO_COOKIE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_as_a_whole_element_of_its_own_variable_only() {
        let name = COOKIE_VARIABLE;
        let found = |environ: &str| {
            let found = children_of_host(environ.as_bytes(), "me");
            found.into_iter().map(|child| child.0).collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("A=1\0{name}=me-3\0B=2\0")), [3]);
        assert_eq!(found(&format!("{name}=you-1:me-2:me-4:you-3\0")), [2, 4]);
        for environ in [
            format!("{name}=you-1\0A=me-2\0"),
            format!("{name}=me2-1:some-2:me-:me-x\0"),
            format!("{name}X=me-1\0"),
            format!("X{name}=me-1\0"),
            String::new(),
        ] {
            assert!(found(&environ).is_empty(), "{environ}");
        }
    }

    #[test]
    fn an_element_is_found_again() {
        assert_eq!(element("me", ChildId(7)), "me-7");
        let ours = value_for(ChildId(7)).into_string().expect("it is ASCII");
        assert_eq!(
            children_in(format!("{COOKIE_VARIABLE}={ours}\0").as_bytes()).last(),
            Some(&ChildId(7))
        );
    }
}
