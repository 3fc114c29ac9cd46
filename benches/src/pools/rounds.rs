//! Rounds: each subject is measured once, then each once more, and so on.
//!
//! Whatever disturbs the machine for a while disturbs all subjects alike. Each round starts with the
//! next subject, so that none is always the first.

use super::contender::Contender;
use super::subjects::ComparedAs;

/// What one subject showed, one sample for each round.
#[derive(Debug, Clone)]
pub struct Series<T> {
    /// The subject's name.
    pub name: &'static str,
    /// How it takes part in the comparison.
    pub compared_as: ComparedAs,
    /// The samples, at least one.
    pub samples: Vec<T>,
}

/// Measures all subjects in interleaved rounds, in the order of the list in the result. Subjects
/// for which `measure` gives nothing are left out.
pub(super) fn interleave<T>(
    contenders: &[Contender],
    rounds: usize,
    mut measure: impl FnMut(usize, &Contender) -> Option<T>,
) -> Vec<Series<T>> {
    let mut all: Vec<Series<T>> = contenders
        .iter()
        .map(|contender| Series {
            name: contender.name,
            compared_as: contender.compared_as,
            samples: Vec::with_capacity(rounds),
        })
        .collect();
    for round in 0..rounds {
        for index in order(round, contenders.len()) {
            all[index]
                .samples
                .extend(measure(round, &contenders[index]));
        }
    }
    all.retain(|series| !series.samples.is_empty());
    all
}

fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |position| (round + position) % count)
}

#[cfg(test)]
mod tests {
    use super::{interleave, order};
    use crate::pools::all_contenders;

    #[test]
    fn every_round_has_each_subject_once_and_starts_with_the_next() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn samples_stay_with_their_subject_and_silent_subjects_are_left_out() {
        let contenders = all_contenders();
        let silent = contenders[1].name;
        let series = interleave(&contenders, 3, |round, contender| {
            (contender.name != silent).then_some((contender.name, round))
        });
        assert_eq!(series.len(), contenders.len() - 1);
        for one in &series {
            assert_eq!(one.samples, [(one.name, 0), (one.name, 1), (one.name, 2)]);
        }
    }
}
