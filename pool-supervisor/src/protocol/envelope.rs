//! One line of input as a request, and an answer as one line of output.
//!
//! The decoder looks at nothing but its line, so it can be tried with any bytes.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::fault::{Fault, FaultKind};
use super::notice::Notice;
use super::request::{
    CancelParams, CloseStdinParams, GrantParams, InitializeParams, ListParams, ShutdownParams,
    SignalParams, SpawnParams, WriteParams,
};

/// The id of a request: a number without a fraction, or a string of at most 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub(crate) enum RequestId {
    Number(i64),
    Text(String),
}

/// What a line asks for.
#[derive(Debug)]
pub(crate) enum Method {
    Initialize(InitializeParams),
    Spawn(Box<SpawnParams>),
    Write(WriteParams),
    CloseStdin(CloseStdinParams),
    Signal(SignalParams),
    Cancel(CancelParams),
    Grant(GrantParams),
    List,
    Shutdown(ShutdownParams),
}

/// A line of input. Without an id there is no answer, not even if it fails.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: Option<RequestId>,
    pub(crate) method: Result<Method, Fault>,
}

/// What can be told of a line that is no request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// If it could be read.
    pub(crate) id: Option<RequestId>,
    pub(crate) fault: Fault,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Tells `null` from nothing.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads a line.
///
/// # Errors
///
/// What can be told of a line that is no request.
pub(crate) fn decode(line: &[u8]) -> Result<Incoming, Malformed> {
    let refuse = |id, kind, message: String| {
        Err(Malformed {
            id,
            fault: Fault::new(kind, message),
        })
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return refuse(None, FaultKind::NotJson, "the line is no UTF-8".to_owned());
    };
    if let Some(why) = why_no_object(text) {
        return refuse(None, FaultKind::InvalidRequest, why.to_owned());
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            return refuse(None, FaultKind::InvalidRequest, error.to_string());
        }
        Err(error) => {
            let message = format!("the line is no JSON: {error}. Send one message a line");
            return refuse(None, FaultKind::NotJson, message);
        }
    };
    let id = match envelope.id.map(|raw| request_id(raw.get())).transpose() {
        Ok(id) => id,
        Err(why) => return refuse(None, FaultKind::InvalidRequest, why),
    };
    let version = envelope.jsonrpc.map(RawValue::get);
    if version != Some("\"2.0\"") {
        let why = "`jsonrpc` must be \"2.0\"".to_owned();
        return refuse(id, FaultKind::InvalidRequest, why);
    }
    let method = envelope.method.map(|raw| serde_json::from_str(raw.get()));
    let Some(Ok::<String, _>(method)) = method else {
        let why =
            "`method` must be a string. This program asks for nothing, so it takes no answers";
        return refuse(id, FaultKind::InvalidRequest, why.to_owned());
    };
    let params = envelope.params.map_or("{}", RawValue::get);
    Ok(Incoming {
        method: read_params(&method, params),
        id,
    })
}

fn why_no_object(text: &str) -> Option<&'static str> {
    match text.trim_start().as_bytes().first() {
        Some(b'[') => Some("batches are not supported: send one message a line"),
        Some(b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n') | None => {
            let is_json =
                text.trim().is_empty() || serde_json::from_str::<&RawValue>(text.trim()).is_ok();
            is_json.then_some("a request is an object")
        }
        Some(_) => None,
    }
}

fn request_id(raw: &str) -> Result<RequestId, String> {
    let refused = "`id` must be a whole number or a string of at most 128 bytes";
    if let Ok(number) = serde_json::from_str::<i64>(raw) {
        return Ok(RequestId::Number(number));
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) if text.len() <= NAME_BYTES_MAX => Ok(RequestId::Text(text)),
        Ok(_) | Err(_) => Err(refused.to_owned()),
    }
}

fn read_params(method: &str, params: &str) -> Result<Method, Fault> {
    fn read<T: DeserializeOwned>(method: &str, params: &str) -> Result<T, Fault> {
        serde_json::from_str(params).map_err(|error| {
            let message = format!("the parameters of `{method}` do not fit: {error}");
            Fault::new(FaultKind::InvalidParams, message)
        })
    }
    Ok(match method {
        "initialize" => Method::Initialize(read(method, params)?),
        "spawn" => Method::Spawn(Box::new(read(method, params)?)),
        "write" => Method::Write(read(method, params)?),
        "closeStdin" => Method::CloseStdin(read(method, params)?),
        "signal" => Method::Signal(read(method, params)?),
        "cancel" => Method::Cancel(read(method, params)?),
        "grant" => Method::Grant(read(method, params)?),
        "list" => read::<ListParams>(method, params).map(|ListParams {}| Method::List)?,
        "shutdown" => Method::Shutdown(read(method, params)?),
        other => {
            let mut shown: String = other.chars().take(64).collect();
            if shown.len() < other.len() {
                shown.push('…');
            }
            let message = format!(
                "there is no method `{shown}`: there are {}",
                METHODS.join(", ")
            );
            return Err(Fault::new(FaultKind::UnknownMethod, message));
        }
    })
}

/// The answer to a request as a line.
pub(crate) fn answer_line<R: Serialize>(id: &RequestId, result: &Result<R, Fault>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answered<'a, R> {
        jsonrpc: &'static str,
        id: &'a RequestId,
        result: &'a R,
    }
    match result {
        Ok(result) => line(&Answered {
            jsonrpc: "2.0",
            id,
            result,
        }),
        Err(fault) => fault_line(Some(id), fault),
    }
}

/// An error as a line. The id is null if it is not known.
pub(crate) fn fault_line(id: Option<&RequestId>, error: &Fault) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failed<'a> {
        jsonrpc: &'static str,
        id: Option<&'a RequestId>,
        error: &'a Fault,
    }
    line(&Failed {
        jsonrpc: "2.0",
        id,
        error,
    })
}

/// A notification as a line.
pub(crate) fn notice_line(notice: &Notice) -> Vec<u8> {
    #[derive(Serialize)]
    struct Told<'a> {
        jsonrpc: &'static str,
        #[serde(flatten)]
        notice: &'a Notice,
    }
    line(&Told {
        jsonrpc: "2.0",
        notice,
    })
}

fn line(message: &impl Serialize) -> Vec<u8> {
    // All keys are strings, and no value fails to serialize.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// All methods.
pub(crate) const METHODS: [&str; 9] = [
    "initialize",
    "spawn",
    "write",
    "closeStdin",
    "signal",
    "cancel",
    "grant",
    "list",
    "shutdown",
];
/// What the names of children and the ids of requests may have.
pub(crate) const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests;
