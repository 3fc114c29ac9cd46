//! The differences between the protocols on top of JSON-RPC: handshake, cancel, progress, ping.

use super::framing::Framing;
use super::reply::{ErrorObject, reply_text};
use super::scan::{Envelope, Members, Span, says, says_in_any_case};
use super::table::CallId;

/// The protocol on top of JSON-RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// None: messages are lines, and there is no handshake, no cancel notification and no ping.
    Plain,
    /// The Model Context Protocol: lines, `notifications/cancelled`, `ping`, and progress tokens in
    /// `_meta`. Whether a child must be [initialized](crate::JsonRpcConnector::initialize) depends on
    /// the revision.
    Mcp,
    /// The Language Server Protocol: `Content-Length`, `$/cancelRequest`, work done and partial result
    /// tokens, and no ping. If its connector [initialized](crate::JsonRpcConnector::initialize) a child,
    /// then before an orderly end the child receives `shutdown`, and `exit` once it has answered.
    Lsp,
}

/// How a child is told that a call was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Not at all.
    None,
    /// `notifications/cancelled`.
    Mcp,
    /// `$/cancelRequest`.
    Lsp,
}

impl Protocol {
    /// How its messages are framed.
    pub(super) const fn framing(self) -> Framing {
        match self {
            Self::Plain | Self::Mcp => Framing::Lines,
            Self::Lsp => Framing::ContentLength,
        }
    }

    /// How its calls are cancelled.
    pub(super) const fn cancel(self) -> Cancel {
        match self {
            Self::Plain => Cancel::None,
            Self::Mcp => Cancel::Mcp,
            Self::Lsp => Cancel::Lsp,
        }
    }

    /// The request that a healthy child answers at once.
    pub(super) const fn ping(self) -> Option<&'static str> {
        match self {
            Self::Mcp => Some("ping"),
            Self::Plain | Self::Lsp => None,
        }
    }

    /// The notification that follows the result of `initialize`.
    pub(super) const fn initialized(self) -> Option<&'static str> {
        match self {
            Self::Mcp => Some("notifications/initialized"),
            Self::Lsp => Some("initialized"),
            Self::Plain => None,
        }
    }

    /// The request and the notification before the end of its input.
    pub(super) const fn farewell(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Lsp => Some(("shutdown", "exit")),
            Self::Plain | Self::Mcp => None,
        }
    }

    /// The progress tokens of a request.
    pub(super) fn request_tokens(self, message: &[u8], envelope: &Envelope) -> Vec<Span> {
        let Some(params) = envelope.params else {
            return Vec::new();
        };
        match self {
            Self::Plain => Vec::new(),
            Self::Mcp => {
                let of_meta = |meta: Span| tokens(message, meta, &[b"progressToken"]);
                // Parsers differ in which of two equal keys they take.
                let metas = members(message, params, &[b"_meta"], says_in_any_case);
                metas.into_iter().flat_map(of_meta).collect()
            }
            Self::Lsp => tokens(message, params, &[b"workDoneToken", b"partialResultToken"]),
        }
    }

    /// The id of the request that the child cancels; `None` for any other notification.
    pub(super) fn cancelled_request(self, message: &[u8], envelope: &Envelope) -> Option<Span> {
        let (method, id): (&str, &[u8]) = match self {
            Self::Plain => return None,
            Self::Mcp => (MCP_CANCEL, b"requestId"),
            Self::Lsp => (LSP_CANCEL, b"id"),
        };
        if !says(envelope.method?.unquoted().of(message), method.as_bytes()) {
            return None;
        }
        members(message, envelope.params?, &[id], says).pop()
    }

    /// The answer to a request that the child has cancelled, if it expects one.
    pub(super) fn cancelled_answer(self, id: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Lsp => {
                let error = ErrorObject::new(REQUEST_CANCELLED, "request cancelled");
                Some(reply_text(id, Err(&error)))
            }
            Self::Plain | Self::Mcp => None,
        }
    }

    /// Whether the request opens a subscription, whose notifications name it.
    pub(super) fn is_subscription(self, message: &[u8], envelope: &Envelope) -> bool {
        self == Self::Mcp && is_method(message, envelope, MCP_LISTEN)
    }

    /// Whether requests of this method open a subscription.
    pub(super) fn subscribes(self, method: &str) -> bool {
        self == Self::Mcp && method == MCP_LISTEN
    }

    /// The id of the subscription that a notification belongs to, as the child wrote it.
    pub(super) fn subscription_id(self, message: &[u8], envelope: &Envelope) -> Option<Span> {
        match self {
            Self::Mcp => subscription_ids(message, envelope.params?).pop(),
            Self::Plain | Self::Lsp => None,
        }
    }

    /// Whether a child makes progress tokens by itself, as by `window/workDoneProgress/create`.
    pub(super) const fn makes_tokens(self) -> bool {
        matches!(self, Self::Lsp)
    }

    /// The token of a progress notification; `None` for any other.
    pub(super) fn progress_token(self, message: &[u8], envelope: &Envelope) -> Option<Span> {
        let (method, token): (&[u8], &[u8]) = match self {
            Self::Plain => return None,
            Self::Mcp => (b"notifications/progress", b"progressToken"),
            Self::Lsp => (b"$/progress", b"token"),
        };
        if !says(envelope.method?.unquoted().of(message), method) {
            return None;
        }
        members(message, envelope.params?, &[token], says).pop()
    }
}

/// Where an object names a subscription: in a notification its params, in a reply its result.
pub(super) fn subscription_ids(message: &[u8], object: Span) -> Vec<Span> {
    let metas = members(message, object, &[b"_meta"], says);
    let of_meta = |meta| members(message, meta, &[SUBSCRIPTION_ID], says);
    metas.into_iter().flat_map(of_meta).collect()
}

/// Whether the message is of this method.
pub(super) fn is_method(message: &[u8], envelope: &Envelope, method: &str) -> bool {
    let named = envelope.method;
    named.is_some_and(|named| says(named.unquoted().of(message), method.as_bytes()))
}

/// Whether it is a client's way to give up a call, by its id or its token.
pub(super) fn is_cancel(message: &[u8], envelope: &Envelope) -> bool {
    let by_token = b"window/workDoneProgress/cancel".as_slice();
    let names = [MCP_CANCEL.as_bytes(), LSP_CANCEL.as_bytes(), by_token];
    envelope.method.is_some_and(|named| {
        let named = named.unquoted().of(message);
        names.iter().any(|name| says(named, name))
    })
}

/// What a cancel of a client names.
#[derive(Debug, Clone, Copy)]
pub(super) enum CancelTarget {
    /// A request, by its id.
    Request(Span),
    /// A request, by a token of it.
    Token(Span),
    Nothing,
}

/// What the message cancels, if it is a cancel of a client.
pub(super) fn cancel_target(message: &[u8], envelope: &Envelope) -> Option<CancelTarget> {
    if !is_cancel(message, envelope) {
        return None;
    }
    let Some(params) = envelope.params else {
        return Some(CancelTarget::Nothing);
    };
    let named = |name: &[u8]| members(message, params, &[name], says).pop();
    let target = if is_method(message, envelope, MCP_CANCEL) {
        named(b"requestId").map(CancelTarget::Request)
    } else if is_method(message, envelope, LSP_CANCEL) {
        named(b"id").map(CancelTarget::Request)
    } else {
        named(b"token").map(CancelTarget::Token)
    };
    Some(target.unwrap_or(CancelTarget::Nothing))
}

/// The tokens that are members of an object, by these names: strings and numbers.
fn tokens(message: &[u8], object: Span, names: &[&[u8]]) -> Vec<Span> {
    let mut found = members(message, object, names, says_in_any_case);
    found.retain(|span| matches!(message[span.range().start], b'"' | b'-' | b'0'..=b'9'));
    found
}

/// The members of an object by these names.
fn members(
    message: &[u8],
    object: Span,
    names: &[&[u8]],
    says: fn(&[u8], &[u8]) -> bool,
) -> Vec<Span> {
    let mut found = Vec::new();
    let Some(mut members) = Members::of(&message[..object.range().end], object.range().start)
    else {
        return found;
    };
    while let Ok(Some((key, value))) = members.next() {
        if names.iter().any(|name| says(key.of(message), name)) {
            found.push(value);
        }
    }
    found
}

impl Cancel {
    pub(super) fn message(self, call: CallId) -> Option<String> {
        match self {
            Self::None => None,
            Self::Mcp => Some(format!(
                r#"{{"jsonrpc":"2.0","method":"{MCP_CANCEL}","params":{{"requestId":{call}}}}}"#
            )),
            Self::Lsp => Some(format!(
                r#"{{"jsonrpc":"2.0","method":"{LSP_CANCEL}","params":{{"id":{call}}}}}"#
            )),
        }
    }
}

const MCP_LISTEN: &str = "subscriptions/listen";
const SUBSCRIPTION_ID: &[u8] = b"io.modelcontextprotocol/subscriptionId";
const MCP_CANCEL: &str = "notifications/cancelled";
const LSP_CANCEL: &str = "$/cancelRequest";
/// An error code of LSP.
const REQUEST_CANCELLED: i64 = -32800;
