//! What a guardian is told: one line for each change.

use std::time::Duration;

use crate::process::cookie;
use crate::process::record::ChildId;
use crate::process::terminate::KillScope;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Child(ChildId, Known),
    /// The child's pid is about to be freed, or there was none.
    Ended(ChildId),
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
            Told::Grace(Duration::from_millis(700)),
            Told::Leave,
        ] {
            assert_eq!(Told::parse(told.line().trim_end()), Some(told));
        }
    }

    #[test]
    fn half_a_line_and_noise_mean_nothing() {
        for line in ["", "s", "g 7", "g 7 x", "- x", "w", "? 7", "t -1 3", "G 7"] {
            assert_eq!(Told::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_grace_is_never_cut_short_and_has_a_limit() {
        assert_eq!(steps(Duration::from_millis(701)), 8);
        assert_eq!(grace_of(steps(Duration::MAX)), Duration::from_secs(3600));
    }
}
