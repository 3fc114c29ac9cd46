//! Messages, answers and streams as bytes.
//!
//! | file | what it decides |
//! |---|---|
//! | `message` | what of a client's message is read |
//! | `members` | which objects could be read in two ways |
//! | `revision` | which revisions there are |
//! | `reply_body` | what the body of an answer is made of |
//! | `answers` | which status and which error object a client gets |
//! | `events` | how messages become a stream of events |

mod answers;
mod events;
mod members;
mod message;
mod reply_body;
mod revision;

pub(crate) use answers::{
    Answer, accepted, because, count_refusal, error_object, error_with_data, json, plain, refuse,
    result_object, too_many, unavailable,
};
pub(crate) use events::{COMMENT, event, sse};
pub(crate) use members::members;
pub(crate) use message::{BadMessage, ClientMessage, MessageKind, parse, tool_name};
pub(crate) use reply_body::ReplyBody;
pub(crate) use revision::{MODERN_VERSION, Revision, Spoken};
