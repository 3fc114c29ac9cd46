//! Whether what a request says of itself is complete, and its headers say the same.
//!
//! A program on the way may route or filter requests by their headers. It must not read one thing there, and the server
//! another thing in the body.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::{ClientMessage, MODERN_VERSION as VERSION, Revision};

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadMetadata {
    /// A header is missing, or says something else.
    Header(String),
    /// `_meta` lacks something.
    Meta(&'static str),
    /// A version that is not spoken here.
    Version(String),
}

#[derive(Deserialize)]
struct Params<'m> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'m>>,
    name: Option<String>,
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Meta<'m> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'m RawValue>,
}

/// Whether the header names this era.
pub(crate) fn is_named(headers: &HeaderMap) -> bool {
    headers
        .get(VERSION_HEADER)
        .is_some_and(|named| named == VERSION)
}

/// Whether a request is of this era: by its header, or else by its `_meta`.
pub(crate) fn speaks(headers: &HeaderMap, message: &ClientMessage) -> bool {
    match headers.get(VERSION_HEADER) {
        Some(named) if named == VERSION => true,
        Some(named) if Revision::ALL.iter().any(|known| named == known.name()) => false,
        Some(_) | None => names_version(message),
    }
}

/// Whether a request names a version in its `_meta`, as this era does.
fn names_version(message: &ClientMessage) -> bool {
    let params = serde_json::from_slice::<Params<'_>>(&message.params);
    let meta = params.ok().and_then(|params| params.meta);
    meta.is_some_and(|meta| meta.version.is_some())
}

/// Checks a request.
pub(super) fn check(headers: &HeaderMap, message: &ClientMessage) -> Result<(), BadMetadata> {
    let params = match message.params.is_empty() {
        true => Params {
            meta: None,
            name: None,
            uri: None,
        },
        false => serde_json::from_slice(&message.params)
            .map_err(|_| BadMetadata::Meta("params cannot be read"))?,
    };
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let named = header(VERSION_HEADER);
    let version = params
        .meta
        .as_ref()
        .and_then(|meta| meta.version.as_deref());
    let Some(version) = version else {
        return Err(BadMetadata::Meta(
            "_meta has no io.modelcontextprotocol/protocolVersion",
        ));
    };
    must_match("MCP-Protocol-Version", named, version)?;
    if version != VERSION {
        return Err(BadMetadata::Version(version.to_owned()));
    }
    let capabilities = params.meta.as_ref().and_then(|meta| meta.capabilities);
    if !capabilities.is_some_and(|capabilities| capabilities.get().starts_with('{')) {
        return Err(BadMetadata::Meta(
            "_meta has no io.modelcontextprotocol/clientCapabilities",
        ));
    }
    must_match("Mcp-Method", header("mcp-method"), &message.method)?;
    let source = match &*message.method {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" => params.uri,
        _ => return Ok(()),
    };
    let Some(source) = source else {
        return Err(BadMetadata::Meta("params lack the name or the uri"));
    };
    let said = match header("mcp-name") {
        Some(value) => Some(
            decoded(value)
                .ok_or_else(|| BadMetadata::Header("Mcp-Name is not well encoded".to_owned()))?,
        ),
        None => None,
    };
    must_match("Mcp-Name", said.as_deref(), &source)
}

fn must_match(name: &str, said: Option<&str>, meant: &str) -> Result<(), BadMetadata> {
    match said {
        Some(said) if said == meant => Ok(()),
        Some(_) => Err(BadMetadata::Header(format!(
            "{name} is not what the body says"
        ))),
        None => Err(BadMetadata::Header(format!("{name} is missing"))),
    }
}

/// The value of a header that is plain, or stands between the marks of Base64; `None` if what is between
/// them is not that.
pub(super) fn decoded(value: &str) -> Option<String> {
    let encoded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        None => Some(value.to_owned()),
        Some(encoded) => {
            let bytes = BASE64.decode(encoded).ok()?;
            String::from_utf8(bytes).ok()
        }
    }
}

const VERSION_HEADER: &str = "mcp-protocol-version";

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::wire::parse;

    fn message(method: &str, params: &str) -> ClientMessage {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        let params = params.replace("META", meta);
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        parse(&Bytes::from(text)).unwrap()
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        list.iter().map(pair).collect()
    }

    const HEAD: [(&str, &str); 2] = [
        ("mcp-protocol-version", VERSION),
        ("mcp-method", "tools/call"),
    ];

    #[test]
    fn a_name_is_compared_as_it_was_meant() {
        let check = |name: &'static str, meant: &str| {
            let message = message("tools/call", &format!(r#"{{"name":"{meant}",META}}"#));
            let mut list = HEAD.to_vec();
            list.push(("mcp-name", name));
            check(&headers(&list), &message)
        };
        assert_eq!(check("echo", "echo"), Ok(()));
        assert_eq!(check("=?base64?SMOk?=", "Hä"), Ok(()));
        assert_eq!(check("=?base64?PT9iYXNlNjQ/eD89?=", "=?base64?x?="), Ok(()));
        for (said, meant) in [
            ("echo", "Echo"),
            ("=?base64?SMOk", "Hä"),
            ("=?base64?SMO?=", "H"),
            ("=?base64?%%?=", "x"),
        ] {
            assert!(
                matches!(check(said, meant), Err(BadMetadata::Header(_))),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let call = message("tools/call", r#"{"name":"a",META}"#);
        assert_eq!(
            check(&headers(&HEAD), &call),
            Err(BadMetadata::Header("Mcp-Name is missing".to_owned()))
        );
        let bare = message("tools/list", "{}");
        assert!(matches!(
            check(&headers(&HEAD), &bare),
            Err(BadMetadata::Meta(_))
        ));
        let future = message(
            "tools/list",
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01"}}"#,
        );
        let wrong = headers(&[("mcp-protocol-version", VERSION)]);
        assert!(
            matches!(check(&wrong, &future), Err(BadMetadata::Header(_))),
            "before the version"
        );
        let same = headers(&[("mcp-protocol-version", "2099-01-01")]);
        assert_eq!(
            check(&same, &future),
            Err(BadMetadata::Version("2099-01-01".to_owned()))
        );
        assert!(
            speaks(&same, &future)
                && speaks(&headers(&HEAD), &bare)
                && speaks(&HeaderMap::new(), &call)
        );
        assert!(
            !speaks(&HeaderMap::new(), &bare)
                && !speaks(&headers(&[("mcp-protocol-version", "2025-11-25")]), &call)
        );
    }
}
