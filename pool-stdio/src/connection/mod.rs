//! Connections: children that can be asked something.
//!
//! | file | what it decides |
//! |---|---|
//! | `exclusive` | one request at a time: what a caller can do, and what a cancelled call leaves |
//! | `one_shot` | one request per child: input, end of input, output, exit |
//! | `exchange` | how a request is written and answered, poll by poll |
//! | `life` | what is known without asking the child; how it ends |
//! | `fault` | what an end of stream, a broken pipe or an exit means for the request |
//! | `wire` | how bytes and frames go to and fro without waiting for each other |

mod exchange;
mod exclusive;
mod fault;
mod life;
mod one_shot;
mod wire;

use pool_core::BoxError;
use tokio_util::codec::Decoder;

pub use exclusive::StdioConnection;
pub(crate) use exclusive::{Birth, Settings};
pub(crate) use one_shot::Limits;
pub use one_shot::{OneShot, Output};
pub(crate) use wire::Pipes;

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

/// What becomes of output that a child writes while nothing was asked of it, or behind its reply.
///
/// What has arrived before a request is written is never taken for its reply. Nothing can tell what
/// arrives later from the reply itself: a child that speaks unasked for long, or that answers
/// twice, needs a protocol with ids.
///
/// # Examples
///
/// ```
/// use pool_stdio::StrayPolicy;
///
/// assert_eq!(StrayPolicy::default(), StrayPolicy::Reject);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StrayPolicy {
    /// The connection is not used again: it may be out of step, and its next reply may belong to
    /// nobody. The default. A pool replaces the child.
    #[default]
    Reject,
    /// Whole frames are thrown away and counted, before the next request is written. What is not a
    /// whole frame by then is rejected: nobody knows where it ends.
    Discard,
}
