use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn spawn_line() -> String {
    json!({
        "jsonrpc": "2.0", "id": "x", "method": "spawn",
        "params": {
            "child": "a", "argv": ["cat", "é😀"], "env": {"PATH": "/bin"}, "cwd": "/",
            "ladder": {"termGraceMs": 5}, "stdio": {"stdin": "null"}, "credit": {"stdout": 7},
        },
    })
    .to_string()
}

/// What any line must be answered with.
fn check(line: &[u8]) {
    match decode(line) {
        Ok(incoming) => {
            let value: Value = serde_json::from_slice(line).expect("a request is JSON");
            assert_eq!(incoming.id.is_some(), value.get("id").is_some());
            assert_eq!(value["jsonrpc"], "2.0");
            if let Ok(method) = &incoming.method {
                let name = value["method"].as_str().expect("its method is a string");
                assert!(METHODS.contains(&name), "{method:?}");
            }
        }
        Err(Malformed { fault, .. }) => {
            let kinds = [FaultKind::NotJson, FaultKind::InvalidRequest];
            assert!(kinds.contains(&fault.data.kind) && !fault.message.is_empty());
        }
    }
}

#[test]
fn a_request_is_read_with_what_it_leaves_out() {
    let incoming = decode(spawn_line().as_bytes()).unwrap();
    assert_eq!(incoming.id, Some(RequestId::Text("x".into())));
    let Ok(Method::Spawn(params)) = incoming.method else {
        panic!("it is a spawn")
    };
    assert_eq!((params.credit.stdout, params.credit.stderr), (7, 0));
    assert_eq!(params.ladder.term_grace_ms, Some(5));
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(decode(deep.as_bytes()).is_err());
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"list","params":{deep}}}"#);
    let incoming = decode(line.as_bytes()).unwrap();
    assert!(incoming.method.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_request_or_a_typed_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        check(&bytes);
    }

    #[test]
    fn a_request_with_a_few_bytes_changed_is_a_request_or_a_typed_error(
        changes in proptest::collection::vec((0_usize..300, any::<u8>()), 1..4),
        length in 0_usize..300,
    ) {
        let mut line = spawn_line().into_bytes();
        for (at, byte) in changes {
            let at = at % line.len();
            line[at] = byte;
        }
        check(&line);
        line.truncate(length);
        check(&line);
    }
}
