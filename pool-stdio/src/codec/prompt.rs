//! Replies that end where a prompt begins, as interactive programs write them.
//!
//! Decides where a reply ends: at the first place where the bytes of the prompt stand, wherever that
//! is in a line. A prompt is often all that follows the last newline, but need not be: a program
//! may print without a newline.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio_util::codec::{Decoder, Encoder};

use super::buffer::{make_room, work};
use super::error::{DecodeError, EncodeError, Fragment};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, truncated};
use super::lines::encode_line;

/// Replies that end with a prompt, such as those of `python3 -i`, `sqlite3 -interactive` or `gdb`.
///
/// A request is a line. A frame is everything that the program writes before its next prompt. The
/// first frame is what it writes when it starts; read it in a
/// [handshake](crate::StdioConnector::handshake).
///
/// **Choose a prompt that no reply can hold**, and tell the program to use it: a reply that holds
/// the prompt ends there, and the rest of it counts as output that nobody asked for. A prompt that
/// never comes, on the other hand, only costs the time limit of a request.
///
/// A program that prints its prompt to stderr, as `python3 -i` does, must be started by a shell that
/// joins the two.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::PromptCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = PromptCodec::new("(ready) ");
/// let mut wire = BytesMut::new();
/// codec.encode("print 6 * 7", &mut wire)?;
/// assert_eq!(wire, "print 6 * 7\n");
///
/// let mut output = BytesMut::from("42\n(ready) ");
/// assert_eq!(codec.decode(&mut output).unwrap().unwrap(), "42\n");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PromptCodec {
    prompt: memmem::Finder<'static>,
    frame_bytes_max: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a reply in whose first `searched_bytes` no prompt begins.
    Searching { searched_bytes: usize },
    /// After an error.
    Failed,
}

impl PromptCodec {
    /// Replies of up to 16 MiB that end with this prompt.
    ///
    /// # Panics
    ///
    /// If the prompt is empty.
    #[must_use]
    pub fn new(prompt: impl AsRef<[u8]>) -> Self {
        let prompt = prompt.as_ref();
        assert!(!prompt.is_empty(), "an empty prompt ends no reply");
        Self {
            prompt: memmem::Finder::new(prompt).into_owned(),
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            state: REPLY_START,
        }
    }

    /// The most bytes a request or a reply may have, without its prompt. Default: 16 MiB.
    ///
    /// Worst-case cost: as many bytes, those of the prompt, and 16 KiB, per connection.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        let State::Searching { searched_bytes } = self.state else {
            return Err(DecodeError::OutOfStep);
        };
        let prompt_bytes = self.prompt.needle().len();
        let whole_bytes = self.frame_bytes_max.saturating_add(prompt_bytes);
        let window = &src[..src.len().min(whole_bytes)];
        work::add(window.len() - searched_bytes);
        if let Some(at) = self.prompt.find(&window[searched_bytes..]) {
            let reply_bytes = searched_bytes + at;
            let mut reply = src.split_to(reply_bytes + prompt_bytes);
            reply.truncate(reply_bytes);
            self.state = REPLY_START;
            return Ok(Some(reply.freeze()));
        }
        if window.len() == whole_bytes {
            return Err(DecodeError::ReplyTooLong {
                limit_bytes: self.frame_bytes_max,
                first_bytes: Fragment::first_of(window),
            });
        }
        // The last bytes may be the beginning of the prompt.
        let searched_bytes = window.len().saturating_sub(prompt_bytes - 1);
        self.state = State::Searching { searched_bytes };
        make_room(src, whole_bytes);
        Ok(None)
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

/// # Errors
///
/// [`DecodeError::ReplyTooLong`]; [`DecodeError::TruncatedFrame`] at the end of the stream;
/// [`DecodeError::OutOfStep`] after either.
impl Decoder for PromptCodec {
    type Item = Bytes;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        if self.state == State::Failed {
            src.clear();
            return Ok(None);
        }
        match self.decode(src)? {
            Some(reply) => Ok(Some(reply)),
            None if src.is_empty() => Ok(None),
            None => {
                let error = truncated("a reply", None, src);
                self.fail(src);
                Err(error)
            }
        }
    }
}

/// # Errors
///
/// [`EncodeError::FrameTooLong`], [`EncodeError::NewlineInFrame`],
/// [`EncodeError::TrailingCarriageReturn`].
impl<F: AsRef<[u8]>> Encoder<F> for PromptCodec {
    type Error = EncodeError;

    fn encode(&mut self, line: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        encode_line(line.as_ref(), self.frame_bytes_max, dst)
    }
}

const REPLY_START: State = State::Searching { searched_bytes: 0 };
