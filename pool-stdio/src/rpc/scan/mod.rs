//! The top level of a JSON-RPC message, found without building a tree.
//!
//! One pass over the bytes, no allocation, no recursion: a string is searched for its end, a nested
//! value for the bracket that closes it. What is inside a nested value is not checked.
//!
//! # Invariants
//!
//! 1. A message with two ids, two methods or two params is refused: two parsers may disagree about
//!    which of them counts, and params can hold tokens.
//! 2. A key is compared by its meaning, not its spelling: `"\u0069d"` is `"id"`.
//! 3. A span covers exactly the bytes of its value, without blanks around it.
//! 4. No input panics, and each byte is looked at a constant number of times at most.
//! 5. A message of 4 GiB or more is refused, so every position fits into a [`Span`].
//!
//! Every request and every reply is scanned, so three small functions are inlined: that saves a fifth
//! of the time of a scan.

mod cursor;
mod envelope;
mod text;

pub(super) use cursor::{DEPTH_MAX, Malformed, Span};
pub(super) use envelope::{Elements, Envelope, Members, MessageKind};
pub(super) use text::{canonical_id, own_number, says, says_in_any_case};

#[cfg(test)]
mod tests;
