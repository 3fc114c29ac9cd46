//! Any bytes, as a message: what the scanner finds is what a parser finds, and it refuses nothing
//! that a parser takes for JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[expect(dead_code, reason = "the messages alone are looked at")]
#[path = "../../src/rpc/scan/mod.rs"]
mod scan;

use scan::{Elements, Envelope, Malformed, Span};

/// As a parser sees it. It refuses members that are there twice, as it takes them for fields.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fuzz_target!(|input: &[u8]| {
    check(input);
    // Most messages begin like this, and are read in a way of their own.
    check(&[br#"{"jsonrpc":"2.0","id":"#, input].concat());
});

fn check(input: &[u8]) {
    let found = Envelope::of(input);
    if let Ok(found) = &found {
        for span in [&found.id, &found.method, &found.params, &found.result, &found.error] {
            assert!(span.is_none_or(|span| span.range().end <= input.len()));
        }
    }
    elements(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if !matches!(serde_json::from_str(text), Ok(Value::Object(_))) {
        return;
    }
    let found = match found {
        Ok(found) => found,
        // What no parser has an opinion on.
        Err(Malformed::TwoIds | Malformed::TwoParams | Malformed::BadId | Malformed::BadMethod) => {
            return;
        }
        Err(error) => panic!("{text} is an object: {error}"),
    };
    let Ok(message) = serde_json::from_str::<Message<'_>>(text) else {
        return;
    };
    let is_same = |span: &Option<Span>, raw: Option<&RawValue>| {
        let seen = span.map(|span| &text[span.range()]).filter(|seen| *seen != "null");
        assert_eq!(seen, raw.map(RawValue::get).filter(|raw| *raw != "null"));
    };
    is_same(&found.id, message.id);
    is_same(&found.method, message.method);
    is_same(&found.params, message.params);
    is_same(&found.result, message.result);
}

fn elements(input: &[u8]) {
    let expected: Option<Vec<&RawValue>> = serde_json::from_slice(input).ok();
    let mut spans = Vec::new();
    if let Some(mut elements) = Elements::of(input) {
        while let Ok(Some(span)) = elements.next() {
            spans.push(span);
        }
    }
    if let Some(expected) = expected {
        let seen: Vec<_> = spans.into_iter().map(|span| span.of(input)).collect();
        let expected: Vec<_> = expected.iter().map(|one| one.get().as_bytes()).collect();
        assert_eq!(seen, expected);
    }
}
