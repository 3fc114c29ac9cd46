//! What a guardian is told: one line for each change.

use std::path::Path;
use std::time::Duration;

use crate::process::cookie;
use crate::process::record::ChildId;
use crate::process::terminate::KillScope;

/// Where a control group is: an absolute path that fits into a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupPath(String);

impl CgroupPath {
    /// `None` if it does not fit into a line: it is relative or no UTF-8, has a line break, or ends in a space or tab.
    pub(super) fn new(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        let fits = path.is_absolute() && !text.contains('\n') && !text.ends_with([' ', '\t']);
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// What the guardian is to know of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Its start has begun.
    Starting,
    Running {
        scope: KillScope,
        pid: u32,
    },
    /// The root was reaped, so that its number can mean another group as soon as this one is empty.
    /// The child's processes are those that carry its mark, and are in the group of this number or,
    /// for a tree, anywhere.
    Rootless {
        scope: KillScope,
        pid: u32,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Child(ChildId, Known),
    /// The child's pid is about to be freed, or there was none.
    Ended(ChildId),
    /// The child has a control group, or is about to have it.
    Cgroup(ChildId, CgroupPath),
    /// The child's control group was removed.
    CgroupRemoved(ChildId),
    Grace(Duration),
    /// Another guardian takes over.
    Leave,
}

impl Told {
    pub(super) fn line(self) -> String {
        match self {
            Self::Child(id, Known::Starting) => format!("s {}\n", id.0),
            Self::Child(id, Known::Running { scope, pid }) => {
                format!("{} {} {pid}\n", cookie::letter(scope), id.0)
            }
            Self::Child(id, Known::Rootless { scope, pid }) => {
                let letter = cookie::letter(scope).to_ascii_uppercase();
                format!("{letter} {} {pid}\n", id.0)
            }
            Self::Ended(id) => format!("- {}\n", id.0),
            Self::Cgroup(id, path) => format!("c {} {}\n", id.0, path.0),
            Self::CgroupRemoved(id) => format!("u {}\n", id.0),
            Self::Grace(grace) => format!("w {}\n", steps(grace)),
            Self::Leave => "q\n".into(),
        }
    }

    /// `None` for a line that has no meaning.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let what = words.next()?;
        if what == "q" {
            return Some(Self::Leave);
        }
        let number: u64 = words.next()?.parse().ok()?;
        let child = ChildId(number);
        if what == "c" {
            // All of the rest: it can have spaces.
            let path = line.trim_ascii().splitn(3, ' ').nth(2)?;
            return Some(Self::Cgroup(child, CgroupPath::new(Path::new(path))?));
        }
        let pid = words.next().and_then(|word| word.parse().ok());
        let running = |scope| {
            let known = Known::Running { scope, pid: pid? };
            Some(Self::Child(child, known))
        };
        let rootless = |scope| {
            let known = Known::Rootless { scope, pid: pid? };
            Some(Self::Child(child, known))
        };
        match what {
            "s" => Some(Self::Child(child, Known::Starting)),
            "r" => running(KillScope::Root),
            "g" => running(KillScope::Group),
            "t" => running(KillScope::Tree),
            "G" => rootless(KillScope::Group),
            "T" => rootless(KillScope::Tree),
            "-" => Some(Self::Ended(child)),
            "u" => Some(Self::CgroupRemoved(child)),
            "w" => Some(Self::Grace(grace_of(number))),
            _ => None,
        }
    }
}

/// A grace in tenths of a second, which is what a shell can wait for.
pub(super) fn steps(grace: Duration) -> u64 {
    let steps = u64::try_from(grace.as_millis().div_ceil(100));
    steps.map_or(STEPS_MAX, |steps| steps.min(STEPS_MAX))
}

pub(super) fn grace_of(steps: u64) -> Duration {
    Duration::from_millis(100 * steps.min(STEPS_MAX))
}

/// An hour.
const STEPS_MAX: u64 = 36_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_as_it_was_meant() {
        let child = ChildId(7);
        let running = |scope| Told::Child(child, Known::Running { scope, pid: 12 });
        let rootless = |scope| Told::Child(child, Known::Rootless { scope, pid: 12 });
        for told in [
            Told::Child(child, Known::Starting),
            running(KillScope::Root),
            running(KillScope::Group),
            running(KillScope::Tree),
            rootless(KillScope::Group),
            rootless(KillScope::Tree),
            Told::Ended(child),
            Told::Cgroup(child, cgroup("/a group/of $1 *'\\")),
            Told::CgroupRemoved(child),
            Told::Grace(Duration::from_millis(700)),
            Told::Leave,
        ] {
            assert_eq!(Told::parse(&told.clone().line()), Some(told));
        }
    }

    #[test]
    fn half_a_line_and_noise_mean_nothing() {
        for line in [
            "", "s", "g 7", "g 7 x", "- x", "w", "? 7", "t -1 3", "G 7", "c 7", "c 7 here", "u",
        ] {
            assert_eq!(Told::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_control_group_whose_path_does_not_fit_into_a_line_is_not_told() {
        for path in ["here", "/a\n- 7", "/a "] {
            assert_eq!(CgroupPath::new(Path::new(path)), None, "{path}");
        }
    }

    fn cgroup(path: &str) -> CgroupPath {
        CgroupPath::new(Path::new(path)).expect("it fits")
    }

    #[test]
    fn a_grace_is_never_cut_short_and_has_a_limit() {
        assert_eq!(steps(Duration::from_millis(701)), 8);
        assert_eq!(grace_of(steps(Duration::MAX)), Duration::from_secs(3600));
    }
}
