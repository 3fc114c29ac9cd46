//! Whether the headers of a call repeat its arguments as the tool's schema wants.

use hyper::HeaderMap;
use serde_json::{Number, Value};

use super::metadata::{BadMetadata, decoded};
use crate::backend::MirroredArgument;
use crate::wire::members;

/// Checks the headers of a `tools/call`.
pub(super) fn check_arguments(
    headers: &HeaderMap,
    params: &[u8],
    mirrored: &[MirroredArgument],
) -> Result<(), BadMetadata> {
    if mirrored.is_empty() {
        return Ok(());
    }
    for argument in mirrored {
        let bad = |what: &str| Err(BadMetadata::Header(format!("{} {what}", argument.header)));
        let Ok(meant) = value_at(params, &argument.path) else {
            return bad("cannot be compared: the arguments cannot be read, or have a member twice");
        };
        let meant = meant.filter(|value| !value.is_null());
        let mut said = headers.get_all(argument.header.as_str()).iter();
        match (said.next(), meant) {
            (None, None) => {}
            (None, Some(_)) => return bad("is missing"),
            (Some(_), None) => return bad("is there, but the argument that it repeats is missing"),
            (Some(_), Some(_)) if said.next().is_some() => return bad("is there twice"),
            (Some(said), Some(meant)) => {
                let said = said.to_str().ok().map(str::trim).and_then(decoded);
                let Some(said) = said else {
                    return bad("is not well encoded");
                };
                if !is_same(&said, &meant) {
                    return bad("is not what the body says");
                }
            }
        }
    }
    Ok(())
}

/// The argument at this path; `None` if there is none.
fn value_at(params: &[u8], path: &[String]) -> Result<Option<Value>, serde_json::Error> {
    let mut value = params;
    for step in std::iter::once("arguments").chain(path.iter().map(String::as_str)) {
        if !value.starts_with(b"{") {
            return Ok(None);
        }
        match members(value)?.get(step) {
            Some(found) => value = found.get().as_bytes(),
            None => return Ok(None),
        }
    }
    serde_json::from_slice(value).map(Some)
}

fn is_same(said: &str, meant: &Value) -> bool {
    match meant {
        Value::String(meant) => said == meant,
        Value::Bool(meant) => said == if *meant { "true" } else { "false" },
        Value::Number(meant) => is_same_number(said, meant),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// As numbers: 42.0 is 42. Integers are compared exactly.
fn is_same_number(said: &str, meant: &Number) -> bool {
    let integer = meant.as_i64().map(i128::from);
    let integer = integer.or_else(|| meant.as_u64().map(i128::from));
    match (said.parse::<i128>(), integer) {
        (Ok(said), Some(meant)) => said == meant,
        _ => said
            .parse()
            .is_ok_and(|said: f64| meant.as_f64() == Some(said)),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_header_says_what_the_argument_says_or_is_not_there() {
        let header = HeaderName::from_static("mcp-param-a");
        let path = vec!["x".to_owned(), "y".to_owned()];
        let mirrored = [MirroredArgument {
            header: header.to_string(),
            path,
        }];
        let check = |said: Option<&str>, meant: &str| {
            let said = said.map(|said| HeaderValue::from_bytes(said.as_bytes()).unwrap());
            let headers = said.map(|said| (header.clone(), said));
            let headers = headers.into_iter().collect();
            let params = format!(r#"{{"arguments":{{"x":{{"y":{meant}}}}}}}"#);
            check_arguments(&headers, params.as_bytes(), &mirrored).is_ok()
        };
        for (said, meant) in [
            ("a", r#""a""#),
            ("=?base64?SMOk?=", r#""Hä""#),
            ("42.0", "42"),
            ("-7", "-7"),
            ("true", "true"),
        ] {
            assert!(check(Some(said), meant), "{said} {meant}");
        }
        for (said, meant) in [
            ("A", r#""a""#),
            ("=?base64?%?=", r#""a""#),
            ("ä", r#""ä""#),
            ("43", "42"),
            ("9007199254740993", "9007199254740992"),
            ("True", "true"),
            ("a", "null"),
        ] {
            assert!(!check(Some(said), meant), "{said} {meant}");
        }
        assert!(check(None, "null") && !check(None, "1"));
    }

    #[test]
    fn arguments_that_cannot_be_read_or_could_be_read_in_two_ways_are_refused() {
        let mirrored = [MirroredArgument {
            header: "mcp-param-a".to_owned(),
            path: vec!["x".to_owned(), "y".to_owned()],
        }];
        let check = |params: &str| check_arguments(&HeaderMap::new(), params.as_bytes(), &mirrored);
        for params in [
            r#"{"arguments":{},"arguments":{"x":{"y":"secret"}}}"#,
            r#"{"arguments":{"x":{"y":"secret"},"x":1}}"#,
            r#"{"arguments":{"x":{"y":null,"\u0079":"secret"}}}"#,
            r#"{"arguments":{"x":{"y":1e999}}}"#,
            r#"{"arguments":{"x":{"y":"\ud800"}}}"#,
            r#"{"arguments":{"a":1e999,"b":"\ud800","x":{"y":"secret"}}}"#,
        ] {
            assert!(check(params).is_err(), "{params}");
        }
        for params in ["", "{}", r#"{"arguments":{"x":[],"b":"\ud800","n":1e999}}"#] {
            assert!(check(params).is_ok(), "{params}");
        }
    }
}
