//! One row of the matrix: a tree, and how each way to end it went.

use pool_reuse::measure::median;

/// One way to end one tree, once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// The call returned.
    Returned {
        /// From the call to its return.
        millis: f64,
        /// Processes of the tree that lived on.
        live: usize,
    },
    /// The call had not returned after this many seconds.
    Pending(f64),
}

impl Ending {
    /// Whether the call returned and nothing lived on.
    pub(super) const fn is_clean(self) -> bool {
        matches!(self, Self::Returned { live: 0, .. })
    }
}

/// All endings of one tree.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    /// By `pool-stdio` with SIGKILL at once, or what the family is about.
    pub(super) forced: Vec<Ending>,
    /// By `pool-stdio` with SIGTERM, half a second of grace and SIGKILL.
    pub(super) asked: Vec<Ending>,
    /// By each baseline, in their order; empty if it was not tried.
    pub(super) baselines: Vec<Vec<Ending>>,
}

impl Row {
    pub(super) const fn new(id: &'static str, what: &'static str) -> Self {
        Self {
            id,
            what,
            forced: Vec::new(),
            asked: Vec::new(),
            baselines: Vec::new(),
        }
    }

    /// The most processes that lived on after one of our endings.
    pub(super) fn live(&self) -> usize {
        let ours = self.forced.iter().chain(&self.asked);
        let live = ours.map(|ending| match ending {
            Ending::Returned { live, .. } => *live,
            Ending::Pending(_) => 1,
        });
        live.max().unwrap_or(0)
    }

    /// Whether a baseline failed where ours did not.
    pub(super) fn is_won(&self) -> bool {
        let mut baselines = self.baselines.iter().flatten();
        self.live() == 0 && baselines.any(|ending| !ending.is_clean())
    }
}

/// The median time and the most that lived on.
pub(super) fn cell(endings: &[Ending]) -> String {
    let pending = endings.iter().find_map(|ending| match ending {
        Ending::Pending(seconds) => Some(seconds),
        Ending::Returned { .. } => None,
    });
    if let Some(seconds) = pending {
        return format!("pending at {seconds} s");
    }
    let returned = endings.iter().filter_map(|ending| match ending {
        Ending::Returned { millis, live } => Some((*millis, *live)),
        Ending::Pending(_) => None,
    });
    let (millis, live): (Vec<f64>, Vec<usize>) = returned.unzip();
    let live = live.into_iter().max();
    median(&millis)
        .zip(live)
        .map_or("-".to_owned(), |(millis, live)| {
            format!("{millis:.1} / {live}")
        })
}

#[cfg(test)]
mod tests {
    use super::{Ending, Row, cell};

    const CLEAN: Ending = Ending::Returned {
        millis: 5.0,
        live: 0,
    };
    const LEAKY: Ending = Ending::Returned {
        millis: 9.0,
        live: 1,
    };

    #[test]
    fn a_cell_shows_the_median_time_and_the_worst_count() {
        assert_eq!(cell(&[CLEAN, LEAKY, CLEAN]), "5.0 / 1");
        assert_eq!(cell(&[CLEAN, Ending::Pending(2.5)]), "pending at 2.5 s");
        assert_eq!(cell(&[]), "-");
    }

    #[test]
    fn a_row_is_won_if_a_baseline_fails_and_ours_leaves_nothing() {
        let mut row = Row::new("M1", "");
        row.forced = vec![CLEAN];
        row.baselines = vec![vec![CLEAN], vec![]];
        assert!(!row.is_won());
        row.baselines[1] = vec![LEAKY];
        assert!(row.is_won());
        row.asked = vec![LEAKY];
        assert!(!row.is_won());
        assert_eq!(row.live(), 1);
    }
}
