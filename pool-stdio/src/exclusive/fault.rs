//! Why an exclusive exchange has no frame, and which error its caller gets for that.

use std::io;

use pool_core::BoxError;

use crate::error::{ChildReport, StdioError};

/// Why there is no frame.
#[derive(Debug)]
pub(super) enum Fault {
    /// An earlier request is unanswered.
    Unanswered,
    /// An earlier failure has left the connection unusable.
    Broken,
    /// The child wrote before it was asked.
    Stray,
    /// The codec refuses to encode the message.
    Encode(BoxError),
    /// Stdout ended before the frame was whole.
    EndOfOutput,
    /// The child has exited, and another process holds its stdout open.
    Exited,
    /// The codec refuses to decode what the child wrote.
    Decode(BoxError),
    Read(io::Error),
    Write(io::Error),
    /// A reply of many frames is over the limit.
    ReplyTooLong,
}

impl Fault {
    /// Whether the connection can go on: the request was refused before anything of it was written.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Unanswered | Self::Encode(_))
    }

    /// Whether the exit of the child may be the cause.
    pub(super) const fn may_be_an_exit(&self) -> bool {
        matches!(
            self,
            Self::EndOfOutput | Self::Exited | Self::Write(_) | Self::Decode(_)
        )
    }

    /// The error for the caller. `report` was made after the exit of the child was waited for.
    pub(super) fn into_error(self, report: Box<ChildReport>, reply_bytes_max: usize) -> StdioError {
        match self {
            Self::Unanswered => StdioError::Unanswered { report },
            Self::Broken => StdioError::Broken { report },
            Self::Stray => StdioError::StrayOutput { report },
            Self::Encode(source) => StdioError::Encode { source, report },
            Self::Decode(source) => StdioError::Decode { source, report },
            Self::Read(source) => StdioError::Read { source, report },
            Self::ReplyTooLong => StdioError::ReplyTooLong {
                limit_bytes: reply_bytes_max,
                report,
            },
            Self::EndOfOutput | Self::Exited | Self::Write(_) if report.exit.is_some() => {
                StdioError::Exited { report }
            }
            Self::EndOfOutput => StdioError::OutputClosed { report },
            Self::Exited => StdioError::Exited { report },
            Self::Write(source) if source.kind() == io::ErrorKind::BrokenPipe => {
                StdioError::InputClosed { source, report }
            }
            Self::Write(source) => StdioError::Write { source, report },
        }
    }
}
