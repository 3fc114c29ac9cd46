//! The bars that are missed today, each with the reason.
//!
//! A miss that stands here is printed with its reason and does not fail a run, unless the figure
//! has become worse than when it was listed by more than noise explains. Remove the line of a miss
//! when it is mended: from then on the bar holds.

/// A bar that is missed today.
#[derive(Debug, Clone, Copy)]
pub struct KnownMiss {
    /// The figure as a report names it.
    pub figure: &'static str,
    /// What it was when it was listed.
    pub value: f64,
    /// Why it is missed.
    pub why: &'static str,
}

/// The miss that is known of this figure.
#[must_use]
pub fn known_miss(figure: &str) -> Option<&'static KnownMiss> {
    KNOWN_MISSES.iter().find(|miss| miss.figure == figure)
}

/// All of them.
pub const KNOWN_MISSES: &[KnownMiss] = &[
    KnownMiss {
        figure: "many-keys: time per operation over 1 000 keys / one pool, one use each's",
        value: 2.2,
        why: "two pools and the budget take turns for each lease: the one that asks, the one that gives \
              up a connection, and the one that asks once more; and nothing of a thousand pools is in \
              the cache",
    },
    KnownMiss {
        figure: "round-trip: pooled request / bare tokio, pinned to one core",
        value: 1.27,
        why: "lease, look and exchange cost a microsecond and a half beside two bare system calls",
    },
    KnownMiss {
        figure: "json-rpc-unpinned: requests/s of 64 callers / rmcp's, one thread",
        value: 6.4,
        why: "rmcp gains as much from a spare core as this does",
    },
    KnownMiss {
        figure: "json-rpc-unpinned: requests/s of 64 callers / rmcp's, two workers",
        value: 6.2,
        why: "rmcp gains as much from a spare core as this does",
    },
    KnownMiss {
        figure: "json-rpc-unpinned: p50 of 1 caller / rmcp's, two workers",
        value: 0.84,
        why: "a call is nearly all waking, and the system decides whether the child runs on the caller's core",
    },
];
