//! What a codec is, and which frames all codecs here refuse: those too long or cut off.

use bytes::BytesMut;
use pool_core::BoxError;
use tokio_util::codec::Decoder;

use super::error::{DecodeError, EncodeError, Fragment};

/// A codec that a connection can read with. Implemented for every decoder whose frames and errors
/// can be sent to other threads.
///
/// To write messages of type `M` a codec must be a [`tokio_util::codec::Encoder`] of `M` as well.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{Codec, CommandSpec, StdioConnector};
/// use tokio_util::codec::LinesCodec;
///
/// // Any codec serves, here one of tokio-util's, which makes a `String` of each line.
/// fn pool_of_cats<C: Codec>(
///     codec: fn() -> C,
/// ) -> Result<ConnectionPool<pool_stdio::StdioConnection<C>>, Box<dyn std::error::Error>> {
///     let connector = StdioConnector::with_codec(CommandSpec::new("cat"), codec)?;
///     Ok(ConnectionPool::builder(connector).build()?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = pool_of_cats(LinesCodec::new)?;
/// assert_eq!(pool.acquire().await?.request("meow").await?, "meow");
/// # Ok(())
/// # }
/// ```
pub trait Codec: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static {}

impl<C: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static> Codec for C {}

/// The default of every codec's `frame_bytes_max`.
pub(crate) const FRAME_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;

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
pub(super) fn truncated(
    part: &'static str,
    expected_bytes: Option<usize>,
    rest: &mut BytesMut,
) -> DecodeError {
    DecodeError::TruncatedFrame {
        part,
        expected_bytes,
        partial: Fragment::whole(rest.split().freeze()),
    }
}
