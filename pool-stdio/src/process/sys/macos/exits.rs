//! Exits that a kqueue has announced.
//!
//! A kqueue announces an exit once, and can do so a moment before the status can be had. So an exit
//! that was announced is reported again and again, at once and then every millisecond, until it was
//! taken note of.

use std::collections::BTreeMap;
use std::time::Duration;

/// Which exits are waited for, by token.
#[derive(Debug, Default)]
pub(super) struct Exits {
    awaited: BTreeMap<u64, Announced>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    NotYet,
    /// It was not reported since.
    JustNow,
    Before,
}

impl Exits {
    pub(super) fn add(&mut self, token: u64) {
        self.awaited.insert(token, Announced::NotYet);
    }

    pub(super) fn remove(&mut self, token: u64) {
        self.awaited.remove(&token);
    }

    /// One that is not waited for any more stays unknown.
    pub(super) fn announce(&mut self, token: u64) {
        if let Some(announced @ Announced::NotYet) = self.awaited.get_mut(&token) {
            *announced = Announced::JustNow;
        }
    }

    /// How long the next wait may be.
    pub(super) fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        let bound = |announced: &Announced| match announced {
            Announced::NotYet => None,
            Announced::JustNow => Some(Duration::ZERO),
            Announced::Before => Some(AGAIN),
        };
        let bounds = self.awaited.values().filter_map(bound);
        bounds.chain(timeout).min()
    }

    /// Reports all that were announced.
    pub(super) fn report(&mut self, tokens: &mut Vec<u64>) {
        for (token, announced) in &mut self.awaited {
            if *announced != Announced::NotYet {
                *announced = Announced::Before;
                tokens.push(*token);
            }
        }
    }
}

const AGAIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(exits: &mut Exits) -> Vec<u64> {
        let mut tokens = Vec::new();
        exits.report(&mut tokens);
        tokens
    }

    #[test]
    fn an_exit_is_reported_at_once_and_then_again_until_it_is_taken_note_of() {
        let mut exits = Exits::default();
        let minute = Some(Duration::from_secs(60));
        exits.add(3);
        exits.add(4);
        assert_eq!(
            (exits.patience(None), exits.patience(minute)),
            (None, minute)
        );
        assert!(reported(&mut exits).is_empty());
        exits.announce(4);
        assert_eq!(exits.patience(minute), Some(Duration::ZERO));
        for _ in 0..2 {
            assert_eq!(reported(&mut exits), [4]);
            assert_eq!(exits.patience(None), Some(AGAIN));
            assert_eq!(exits.patience(Some(Duration::ZERO)), Some(Duration::ZERO));
            // A second announcement is none.
            exits.announce(4);
        }
        exits.remove(4);
        assert_eq!((exits.patience(None), reported(&mut exits)), (None, vec![]));
    }

    #[test]
    fn an_exit_that_nobody_waits_for_any_more_is_not_reported() {
        let mut exits = Exits::default();
        exits.add(1);
        exits.remove(1);
        exits.announce(1);
        assert_eq!((exits.patience(None), reported(&mut exits)), (None, vec![]));
    }
}
