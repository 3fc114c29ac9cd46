//! A question whose answer tells that a child has answered everything before it.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use bytes::BytesMut;
use pool_core::BoxError;
use tokio_util::codec::Encoder;

use crate::codec::Codec;

/// Asks a child for an answer that holds a number, and recognises the answer.
pub(super) struct QuietToken<C: Codec> {
    encode: Box<EncodeToken<C>>,
    is_answer: Box<IsAnswer<C::Item>>,
}

type IsAnswer<I> = dyn Fn(u64, &I) -> bool + Send + Sync;
type EncodeToken<C> = dyn Fn(&mut C, u64, &mut BytesMut) -> Result<(), BoxError> + Send + Sync;

/// Whether a frame answers a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenAnswer {
    No,
    Yes,
    /// It would answer another token just as well, perhaps one that a caller has asked for.
    Ambiguous,
}

impl<C: Codec> QuietToken<C> {
    pub(super) fn new<M>(
        message: impl Fn(u64) -> M + Send + Sync + 'static,
        is_answer: impl Fn(u64, &C::Item) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        Self {
            encode: Box::new(move |codec, number, bytes| {
                codec.encode(message(number), bytes).map_err(Into::into)
            }),
            is_answer: Box::new(is_answer),
        }
    }

    pub(super) fn encode(
        &self,
        codec: &mut C,
        number: u64,
        bytes: &mut BytesMut,
    ) -> Result<(), BoxError> {
        (self.encode)(codec, number, bytes)
    }

    pub(super) fn answered_by(&self, number: u64, frame: &C::Item) -> TokenAnswer {
        if !(self.is_answer)(number, frame) {
            TokenAnswer::No
        } else if (self.is_answer)(number + 1, frame) {
            TokenAnswer::Ambiguous
        } else {
            TokenAnswer::Yes
        }
    }
}

/// A number for a token. No caller can guess it: a caller that asked for the same token would have its answer
/// taken for ours, and ours would reach the next caller. It is below 2⁵³, so that a child that counts in
/// floating point keeps every digit.
pub(super) fn token_number() -> u64 {
    RandomState::new().hash_one(()) >> 11
}

impl<C: Codec> fmt::Debug for QuietToken<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuietToken").finish_non_exhaustive()
    }
}
