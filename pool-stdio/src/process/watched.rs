//! Which child, and what of it, an event that the custodian waits for belongs to.

use super::record::ChildId;

/// What of a child became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Exit,
    Stdin,
    Stdout,
    Stderr,
}

/// A child and what of it became ready, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    // Order: by source first, so that exits are served before output.
    pub(crate) source: Source,
    pub(crate) child: ChildId,
}

impl Token {
    pub(crate) const fn to_number(self) -> u64 {
        self.child.0 << 2 | self.source as u64
    }

    pub(crate) const fn of_number(number: u64) -> Self {
        let source = match number & 3 {
            0 => Source::Exit,
            1 => Source::Stdin,
            2 => Source::Stdout,
            _ => Source::Stderr,
        };
        Self {
            source,
            child: ChildId(number >> 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_after_it_was_a_number() {
        for number in [0, 1, 7, u64::MAX >> 3] {
            for source in [Source::Exit, Source::Stdin, Source::Stdout, Source::Stderr] {
                let token = Token {
                    source,
                    child: ChildId(number),
                };
                assert_eq!(Token::of_number(token.to_number()), token);
            }
        }
    }
}
