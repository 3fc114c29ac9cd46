//! What a codec is, and what all codecs here say of frames that are too long or cut off.

use bytes::BytesMut;
use pool_core::BoxError;
use tokio_util::codec::Decoder;

use super::error::{DecodeError, EncodeError, Fragment, FramePart};

/// What a connection needs of a codec to read with it; whatever can do it is one.
///
/// To write a message of type `M` it must be a [`tokio_util::codec::Encoder`] of `M` as well.
///
/// # Examples
///
/// ```
/// use pool_stdio::Codec;
/// use pool_stdio::codec::{HeaderCodec, LineCodec};
///
/// fn takes<C: Codec>(_: C) -> usize {
///     size_of::<C>()
/// }
/// assert!(takes(LineCodec::new()) > 0);
/// assert!(takes(HeaderCodec::new()) > 0);
/// assert!(takes(tokio_util::codec::LinesCodec::new()) > 0);
/// ```
pub trait Codec: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static {}

impl<C: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static> Codec for C {}

/// The default of every codec's `frame_bytes_max`: 16 MiB.
///
/// Large on purpose: smaller defaults were met by ordinary replies, and the limit is there to stop
/// a runaway peer. Its worst-case cost is one buffer of this size per connection.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;

/// The length that the peer announced, if a frame may have it.
pub(super) fn admit_length(
    stated_bytes: u64,
    limit_bytes: usize,
    head: &[u8],
) -> Result<usize, DecodeError> {
    match usize::try_from(stated_bytes) {
        Ok(body_bytes) if body_bytes <= limit_bytes => Ok(body_bytes),
        Ok(_) | Err(_) => Err(DecodeError::FrameTooLong {
            stated_bytes,
            limit_bytes,
            head: Fragment::first_of(head),
        }),
    }
}

/// Refuses to write a frame that is over the limit.
pub(super) const fn check_length(
    frame_bytes: usize,
    limit_bytes: usize,
) -> Result<(), EncodeError> {
    if frame_bytes > limit_bytes {
        return Err(EncodeError::FrameTooLong {
            frame_bytes,
            limit_bytes,
        });
    }
    Ok(())
}

/// The stream ended in this part of a frame, of which the rest of the buffer is all there is.
pub(super) fn truncated(part: FramePart, rest: &mut BytesMut) -> DecodeError {
    DecodeError::TruncatedFrame {
        part,
        partial: Fragment::whole(rest.split().freeze()),
    }
}
