//! How a progress token of a client is named to the child.
//!
//! A token of ours is a string with a nonce, because a language server makes tokens too: a number could be
//! one of both.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use bytes::Bytes;

use super::scan::own_number;

/// The tokens of one connection.
#[derive(Debug)]
pub(super) struct Tokens {
    nonce: String,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            nonce: format!("{:016x}", RandomState::new().hash_one(())),
        }
    }

    /// The token with this number, as JSON text.
    pub(super) fn text(&self, number: u64) -> Bytes {
        format!(r#""{}-{number}""#, self.nonce).into()
    }

    /// The number of a token, if it is one of ours.
    pub(super) fn number(&self, token: &[u8]) -> Option<u64> {
        let rest = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let number = rest.strip_prefix(self.nonce.as_bytes())?;
        own_number(number.strip_prefix(b"-")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_to_the_connection_that_made_it() {
        let (ours, others) = (Tokens::new(), Tokens::new());
        let token = ours.text(7);
        assert_eq!(ours.number(&token), Some(7));
        assert_eq!(others.number(&token), None);
        for not_ours in ["7", "\"7\"", "null", "\"", ""] {
            assert_eq!(ours.number(not_ours.as_bytes()), None);
        }
    }
}
