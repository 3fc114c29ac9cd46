//! A JSON-RPC batch, taken apart into messages that each get an exchange of their own, and the replies put
//! together again.
//!
//! A batch is nothing but several messages at once: each of its requests can have another child, a cancel
//! and notes of its own. So no exchange is of a batch.

use bytes::Bytes;

use crate::rpc::client::{EMPTY_BATCH, bad_request};
use crate::rpc::error::RpcError;
use crate::rpc::framing::join;
use crate::rpc::scan::Elements;

/// The messages of a JSON-RPC batch, as the client wrote them. `None` if the frame is no array, and so one
/// message. Clients of MCP 2025-03-26 can send batches.
///
/// Each message gets an [`Exchange`](crate::Exchange), which looks at it: one that is no message fails
/// alone. [`join_batch`] makes one batch of the replies.
///
/// # Errors
///
/// [`BadRequest`](RpcError::BadRequest) if the array is not whole, is empty, or has more than
/// `messages_max` messages. A limit is needed, because the shortest message has one byte.
///
/// # Examples
///
/// ```
/// use pool_core::SharedPool;
/// use pool_stdio::{
///     CommandSpec, ErrorObject, JsonRpcConnector, Protocol, Retry, RetryError, Terms, join_batch,
///     split_batch,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":"hi"}/"#;
/// let server = CommandSpec::new("sed").args(["-nu", &format!("{script}p")]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
/// let (retry, terms) = (Retry::new(pool), Terms::new());
///
/// let body = r#"[{"jsonrpc":"2.0","id":"a","method":"greet"},
///     {"jsonrpc":"2.0","method":"notifications/news"}, {"jsonrpc":"2.0","id":7,"method":"greet"}]"#;
/// let messages = split_batch(body.into(), 100)?.expect("it is a batch");
/// // All at once: each one is a task.
/// let mut exchanges = Vec::new();
/// for message in messages {
///     let mut exchange = retry.exchange(message.clone(), &terms);
///     exchanges.push(tokio::spawn(async move {
///         let failed = |error: RetryError| {
///             drop(error); // For the log: a client is told no more than that.
///             ErrorObject::new(-32603, "no reply").reply_to(&message)
///         };
///         exchange.reply().await.unwrap_or_else(failed)
///     }));
/// }
/// let mut replies = Vec::new();
/// for exchange in exchanges {
///     replies.extend(exchange.await?);
/// }
/// assert_eq!(
///     join_batch(replies).expect("it has requests"),
///     r#"[{"jsonrpc":"2.0","id":"a","result":"hi"},{"jsonrpc":"2.0","id":7,"result":"hi"}]"#
/// );
/// # Ok(())
/// # }
/// ```
pub fn split_batch(frame: Bytes, messages_max: usize) -> Result<Option<Vec<Bytes>>, RpcError> {
    let Some(mut elements) = Elements::of(&frame) else {
        return Ok(None);
    };
    let mut messages = Vec::new();
    while let Some(span) = elements.next().map_err(bad_request)? {
        if messages.len() == messages_max {
            return Err(RpcError::BadRequest {
                reason: format!("a batch of more than {messages_max} messages"),
            });
        }
        messages.push(frame.slice(span.range()));
    }
    if messages.is_empty() {
        return Err(RpcError::BadRequest {
            reason: EMPTY_BATCH.to_owned(),
        });
    }
    Ok(Some(messages))
}

/// One batch of these replies. `None` if there is none: the client expects nothing then, not even an
/// empty array. The order of the replies is up to the caller: JSON-RPC asks for none.
///
/// [`split_batch`] has an example.
pub fn join_batch(replies: impl IntoIterator<Item = Bytes>) -> Option<Bytes> {
    let mut parts = Vec::new();
    for reply in replies {
        let separator: &'static [u8] = if parts.is_empty() { b"[" } else { b"," };
        parts.push(Bytes::from_static(separator));
        parts.push(reply);
    }
    if parts.is_empty() {
        return None;
    }
    parts.push(Bytes::from_static(b"]"));
    Some(join(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(frame: &'static str, messages_max: usize) -> Result<Option<Vec<Bytes>>, RpcError> {
        split_batch(Bytes::from_static(frame.as_bytes()), messages_max)
    }

    #[test]
    fn a_batch_is_taken_apart_and_joined_byte_for_byte() {
        let found = messages(" [ {\"id\" : 1} ,[2, \"]\"],3]\n", 3).unwrap();
        let found = found.unwrap();
        assert_eq!(found, ["{\"id\" : 1}", "[2, \"]\"]", "3"]);
        assert_eq!(join_batch(found).unwrap(), "[{\"id\" : 1},[2, \"]\"],3]");
        assert!(messages("{\"id\":[1]}", 3).unwrap().is_none());
        assert!(join_batch([]).is_none());
    }

    #[test]
    fn a_batch_that_is_broken_empty_or_too_long_is_refused() {
        for frame in ["[", "[]", "[1", "[1,]", "[1]]", "[1] 2", "[1,2,3,4]"] {
            let error = messages(frame, 3).unwrap_err();
            assert!(matches!(error, RpcError::BadRequest { .. }), "{frame}");
        }
    }
}
