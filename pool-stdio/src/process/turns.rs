//! Which of the descriptors that are ready are served in a turn of the custodian, and in which order:
//! exits and stdin first, then output until enough was read. The next turn goes on behind the output
//! that was read last, so that each child is served however much others write.

use super::watched::{Source, Token};

/// The turns of the custodian.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The output that was read last.
    last_output: Option<Token>,
}

impl Turns {
    /// Serves what is ready, as far as one turn allows. The rest stays ready. `serve` returns how many
    /// bytes it read.
    pub(super) fn take(&mut self, mut ready: Vec<Token>, mut serve: impl FnMut(Token) -> usize) {
        let last = self.last_output;
        ready.sort_unstable_by_key(|token| {
            let had_its_turn = is_output(*token) && Some(*token) <= last;
            (is_output(*token), had_its_turn, *token)
        });
        let mut bytes = 0;
        for token in ready {
            if is_output(token) {
                if bytes >= TURN_BYTES {
                    break;
                }
                self.last_output = Some(token);
            }
            bytes += serve(token);
        }
    }
}

const fn is_output(token: Token) -> bool {
    matches!(token.source, Source::Stdout | Source::Stderr)
}

/// How much output is read in a turn, and at most one read more.
const TURN_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::record::ChildId;

    const READ: usize = 64 * 1024;

    fn token(source: Source, child: u64) -> Token {
        let child = ChildId(child);
        Token { source, child }
    }

    /// Those that are served in a turn, if each read is of 64 KiB.
    fn turn(turns: &mut Turns, ready: Vec<Token>) -> Vec<Token> {
        let mut served = Vec::new();
        turns.take(ready, |token| {
            served.push(token);
            if is_output(token) { READ } else { 0 }
        });
        served
    }

    #[test]
    fn children_that_always_write_take_turns_with_all_others() {
        let ready: Vec<Token> = (0..20)
            .flat_map(|child| [Source::Stdout, Source::Stderr].map(|source| token(source, child)))
            .collect();
        let mut turns = Turns::default();
        let reads: Vec<Token> = (0..5)
            .flat_map(|_| turn(&mut turns, ready.clone()))
            .collect();
        assert_eq!(reads.len(), 5 * TURN_BYTES / READ);
        assert!(ready.iter().all(|token| reads.contains(token)), "{reads:?}");
    }

    #[test]
    fn exits_and_input_are_served_before_all_output() {
        let mut ready: Vec<Token> = (0..9).map(|child| token(Source::Stdout, child)).collect();
        ready.extend([token(Source::Stdin, 9), token(Source::Exit, 9)]);
        let mut turns = Turns::default();
        for _ in 0..3 {
            let served = turn(&mut turns, ready.clone());
            assert_eq!(
                served[..2],
                [token(Source::Exit, 9), token(Source::Stdin, 9)]
            );
            assert_eq!(served.len(), 2 + TURN_BYTES / READ);
        }
    }
}
