//! Children as connections: what a request costs, what a child costs, and what reuse saves.
//!
//! Each module measures one thing and gives a [`Chapter`]: its tables, and its figures beside their
//! bars. Subjects take turns, round after round, and ratios of medians are what is judged.
//!
//! The children are the measuring program itself, started in another [role](act_if_asked).

pub mod chapter;
pub mod per_request;
pub mod program;
pub mod replace;

pub mod round_trip;
pub mod rpc;
pub mod scale;
pub mod spawn;
pub mod stall;
pub mod trees;

pub use chapter::{Bar, Chapter, Judgement, Picture, verdicts};
pub use pool_reuse::measure::Measured;
pub use program::act_if_asked;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Enough to be quoted.
    Full,
    /// Enough to see that it works.
    Quick,
}

impl Effort {
    /// So many rounds, or a third of them.
    #[must_use]
    pub fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(3),
        }
    }
}

/// One thing that can be measured.
#[derive(Debug, Clone, Copy)]
pub struct Topic {
    /// Its name, to choose it by.
    pub name: &'static str,
    /// Measures it.
    pub measure: fn(Effort) -> Measured<Chapter>,
}

/// All of them.
pub const TOPICS: [Topic; 10] = [
    Topic {
        name: "round-trip",
        measure: round_trip::measure,
    },
    Topic {
        name: "reuse",
        measure: per_request::measure,
    },
    Topic {
        name: "json-rpc",
        measure: rpc::measure_pinned,
    },
    Topic {
        name: "json-rpc-unpinned",
        measure: rpc::measure_unpinned,
    },
    Topic {
        name: "json-rpc-crowd",
        measure: rpc::measure_crowd,
    },
    Topic {
        name: "spawn",
        measure: spawn::measure,
    },
    Topic {
        name: "stall",
        measure: stall::measure,
    },
    Topic {
        name: "replace",
        measure: replace::measure,
    },
    Topic {
        name: "scale",
        measure: scale::measure,
    },
    Topic {
        name: "tree-kill",
        measure: trees::measure,
    },
];
