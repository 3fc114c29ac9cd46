//! How messages become a stream of events.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::answers::Answer;
use super::reply_body::ReplyBody;

/// What keeps a silent stream open, for those between that close silent ones.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b": still here\n\n");

/// One message as an event. A line break in it, which JSON permits between its tokens, would end the
/// event; so it becomes a blank.
pub(crate) fn event(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 24);
    bytes.put_slice(b"event: message\ndata: ");
    let from = bytes.len();
    bytes.put_slice(message);
    for byte in &mut bytes[from..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes.put_slice(b"\n\n");
    bytes.freeze()
}

/// The answer that is this stream.
pub(crate) fn sse(events: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let mut answer = Response::new(ReplyBody::events(events));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // A proxy that collects a stream before it passes it on would hold up every message.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}
