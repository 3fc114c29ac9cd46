//! How many connections the descriptors of this process allow.
//!
//! Each connection needs a descriptor, and each child a few. Without a free one no child starts and no connection is
//! accepted. So the limit of the process (`ulimit -n`) is raised as far as it is needed and may be. If that is not enough, fewer
//! connections are accepted at a time.

use thiserror::Error;

use crate::config::Settings;

/// The limits have no room for connections.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "this process may have {limit} descriptors (`ulimit -n`), and limits.children_max = {children_max} leaves none for \
     connections. Lower limits.children_max, or raise the limit to {needed}"
)]
pub(crate) struct TooFew {
    limit: u64,
    children_max: usize,
    needed: u64,
}

/// How many connections may be accepted at a time. Raises the limit of the process if that helps.
pub(crate) fn connections_max(settings: &Settings) -> Result<usize, TooFew> {
    let need = Need::of(settings);
    let Some(limit) = raised(need.all()) else {
        return Ok(need.connections);
    };
    let allowed = need.connections_within(limit)?;
    if allowed < need.connections {
        let (wanted, needed) = (need.connections, need.all());
        tracing::warn!(
            "{allowed} connections are accepted at a time instead of http.connections_max = {wanted}: this process may \
             have {limit} descriptors, and needs {needed}. Raise the limit (`ulimit -n {needed}`, LimitNOFILE= of \
             systemd) or lower http.connections_max or limits.children_max"
        );
    }
    Ok(allowed)
}

/// What descriptors are needed for.
#[derive(Debug, Clone, Copy)]
struct Need {
    connections: usize,
    children: usize,
}

impl Need {
    fn of(settings: &Settings) -> Self {
        Self {
            connections: settings.http.connections_max,
            children: settings.limits.children_max,
        }
    }

    fn all(self) -> u64 {
        self.without_connections()
            .saturating_add(as_u64(self.connections))
    }

    fn without_connections(self) -> u64 {
        as_u64(self.children)
            .saturating_mul(OF_A_CHILD)
            .saturating_add(OWN)
    }

    /// How many connections there may be with so many descriptors.
    fn connections_within(self, limit: u64) -> Result<usize, TooFew> {
        let left = limit.saturating_sub(self.without_connections());
        let allowed = self
            .connections
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if allowed < CONNECTIONS_MIN.min(self.connections) {
            return Err(TooFew {
                limit,
                children_max: self.children,
                needed: self.all(),
            });
        }
        Ok(allowed)
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The limit, after it was raised to what is needed, or as far as it may be; `None` if there is none.
#[cfg(unix)]
fn raised(needed: u64) -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // No higher: children inherit it, and some programs look at each descriptor that they could have.
    let wanted = needed.min(hard);
    if wanted <= soft {
        return Some(soft);
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => Some(wanted),
        // Some systems have another limit, beside the hard one.
        Err(_) => Some(soft),
    }
}

#[cfg(not(unix))]
fn raised(_needed: u64) -> Option<u64> {
    None
}

/// Three pipes and a handle of the process. As many again are open for a moment while it starts or ends.
const OF_A_CHILD: u64 = 8;
/// The runtime, the log, signals, the guardian, looks at `/proc`, a connection that waits for a place.
const OWN: u64 = 64;
/// With fewer it serves nobody well.
const CONNECTIONS_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_what_children_leave() {
        let need = Need {
            connections: 4096,
            children: 64,
        };
        assert_eq!(need.all(), 4096 + 64 * OF_A_CHILD + OWN);
        assert_eq!(need.connections_within(need.all()), Ok(4096));
        assert_eq!(need.connections_within(u64::MAX), Ok(4096));
        assert_eq!(need.connections_within(need.all() - 1), Ok(4095));
        assert_eq!(need.connections_within(1024), Ok(448));
        let refused = need.connections_within(64 * OF_A_CHILD + OWN).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("may have 576 descriptors"), "{said}");
        assert!(said.contains("limits.children_max = 64"), "{said}");
        assert!(said.ends_with("raise the limit to 4672"), "{said}");
        // A limit of fewer connections than are needed at least is kept.
        let few = Need {
            connections: 1,
            children: 1,
        };
        assert_eq!(few.connections_within(few.all()), Ok(1));
        assert!(few.connections_within(few.all() - 1).is_err());
    }

    #[test]
    fn more_than_can_be_counted_is_refused_or_reduced_as_any_number_is() {
        let all = Need {
            connections: usize::MAX,
            children: usize::MAX,
        };
        assert_eq!(all.all(), u64::MAX);
        assert!(all.connections_within(1024).is_err());
        let few = Need { children: 1, ..all };
        assert_eq!(few.all(), u64::MAX);
        assert_eq!(few.connections_within(1024), Ok(952));
    }
}
