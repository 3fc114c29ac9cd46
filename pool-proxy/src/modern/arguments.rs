//! Whether the headers of a call repeat its arguments as the tool's schema wants.

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::metadata::{BadMetadata, decoded};
use crate::backend::MirroredArgument;

/// Checks the headers of a `tools/call`.
pub(super) fn check_arguments(
    headers: &HeaderMap,
    params: &[u8],
    mirrored: &[MirroredArgument],
) -> Result<(), BadMetadata> {
    #[derive(Default, Deserialize)]
    struct Params {
        #[serde(default)]
        arguments: Value,
    }
    if mirrored.is_empty() {
        return Ok(());
    }
    let params: Params = serde_json::from_slice(params).unwrap_or_default();
    for argument in mirrored {
        let bad = |what: &str| Err(BadMetadata::Header(format!("{} {what}", argument.header)));
        let mut path = argument.path.iter();
        let meant = path.try_fold(&params.arguments, |value, step| value.get(step));
        let meant = meant.filter(|value| !value.is_null());
        let mut said = headers.get_all(argument.header.as_str()).iter();
        match (said.next(), meant) {
            (None, None) => {}
            (None, Some(_)) => return bad("is missing"),
            (Some(_), None) => return bad("is of an argument that is missing"),
            (Some(_), Some(_)) if said.next().is_some() => return bad("is there twice"),
            (Some(said), Some(meant)) => {
                let said = said.to_str().ok().map(str::trim).and_then(decoded);
                let Some(said) = said else {
                    return bad("is not well encoded");
                };
                if !is_same(&said, meant) {
                    return bad("is not what the body says");
                }
            }
        }
    }
    Ok(())
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
}
