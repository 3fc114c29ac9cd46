//! The scanner against messages of every kind, and against a parser.

use proptest::prelude::*;

use super::*;

fn id_of(message: &str) -> Result<Option<&str>, Malformed> {
    let found = Envelope::of(message.as_bytes())?;
    Ok(found.id.map(|span| &message[span.range()]))
}

#[test]
fn the_id_is_found_wherever_and_however_it_is_written() {
    for (message, id) in [
        (r#"{"id":1}"#, "1"),
        (r#" { "a" : {"id":2} , "id" : "x" } "#, r#""x""#),
        (r#"{"\u0069d":-1.5e+9}"#, "-1.5e+9"),
        (r#"{"i\u0064":null,"ID":3,"id ":4}"#, "null"),
        (r#"{"a":"\\","b":"\"id\":7","id":"\ud800"}"#, r#""\ud800""#),
        (
            r#"{"params":[{"id":1},"]}"],"id":123456789012345678901234567890}"#,
            "123456789012345678901234567890",
        ),
    ] {
        assert_eq!(id_of(message), Ok(Some(id)), "{message}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for (message, reason) in [
        ("", Malformed::NotAnObject),
        ("listening", Malformed::NotAnObject),
        ("[]", Malformed::NotAnObject),
        ("123", Malformed::NotAnObject),
        (r#"{"id":1} x"#, Malformed::NotJson),
        (r#"{"id":1"#, Malformed::NotJson),
        (r#"{"id":01}"#, Malformed::NotJson),
        (r#"{"id":1.}"#, Malformed::NotJson),
        (r#"{"id":tru}"#, Malformed::NotJson),
        (r#"{"id":"1}"#, Malformed::NotJson),
        (r#"{"id":"1\"#, Malformed::NotJson),
        (r#"{"a":[{}}"#, Malformed::NotJson),
        (r#"{"a" 1}"#, Malformed::NotJson),
        (r#"{a:1}"#, Malformed::NotJson),
        (r#"{"a":}"#, Malformed::NotJson),
        (r#"{"id":1,"\u0069\u0064":2}"#, Malformed::TwoIds),
        (r#"{"id":[1]}"#, Malformed::BadId),
        (r#"{"id":true}"#, Malformed::BadId),
        (r#"{"method":1}"#, Malformed::BadMethod),
        (r#"{"method":"m","method":"n"}"#, Malformed::TwoMethods),
    ] {
        assert_eq!(Envelope::of(message.as_bytes()), Err(reason), "{message}");
    }
}

#[test]
fn a_message_is_for_what_its_members_say() {
    for (message, kind) in [
        (r#"{"id":1,"method":"m"}"#, Ok(MessageKind::Request)),
        (r#"{"method":"m"}"#, Ok(MessageKind::Notification)),
        (r#"{"id":1,"result":null}"#, Ok(MessageKind::Reply)),
        (
            r#"{"id":1,"error":{},"result":null}"#,
            Ok(MessageKind::Reply),
        ),
        (r#"{"id":1,"error":null}"#, Ok(MessageKind::Reply)),
        (r#"{"id":1}"#, Ok(MessageKind::Reply)),
        (r#"{"result":1}"#, Err(Malformed::Neither)),
        ("{}", Err(Malformed::Neither)),
    ] {
        let found = Envelope::of(message.as_bytes()).and_then(|found| found.kind());
        assert_eq!(found, kind, "{message}");
    }
}

#[test]
fn an_array_is_taken_apart() {
    let message = br#" [ {"a":[1,2]} , 3,"]" ]"#;
    let mut elements = Elements::of(message).unwrap();
    let mut found = Vec::new();
    while let Some(span) = elements.next().unwrap() {
        found.push(span.of(message));
    }
    assert_eq!(found, [&br#"{"a":[1,2]}"#[..], b"3", b"\"]\""]);
    let mut torn = Elements::of(b"[1] 2").unwrap();
    assert_eq!(torn.next(), Ok(Span::new(&(1..2))));
    assert_eq!(torn.next(), Err(Malformed::NotJson));
}

#[test]
fn only_our_own_way_to_write_a_number_is_ours() {
    assert_eq!(own_number(b"0"), Some(0));
    assert_eq!(own_number(b"9007199254740991"), Some(9_007_199_254_740_991));
    for foreign in [
        "",
        "-1",
        "01",
        "1.0",
        "1e3",
        "\"1\"",
        "99999999999999999999",
    ] {
        assert_eq!(own_number(foreign.as_bytes()), None, "{foreign}");
    }
}

/// JSON text of any shape, with blanks and escapes where they may be.
fn json() -> impl Strategy<Value = String> {
    let blank = || "[ \t]{0,2}";
    let string = || {
        prop::collection::vec(
            prop_oneof![
                "[a-z{}\\[\\],:é]{0,3}".boxed(),
                Just("\\\"").prop_map(str::to_owned).boxed(),
                Just("\\\\").prop_map(str::to_owned).boxed(),
                Just("\\ud83d\\ude00").prop_map(str::to_owned).boxed(),
                Just("\\u0069d").prop_map(str::to_owned).boxed(),
                Just("id").prop_map(str::to_owned).boxed(),
            ],
            0..4,
        )
        .prop_map(|parts| format!("\"{}\"", parts.concat()))
    };
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        string(),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let member = (string(), blank(), inner.clone(), blank())
            .prop_map(|(key, a, value, b)| format!("{key}{a}:{b}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..4), blank())
                .prop_map(|(all, blank)| format!("[{blank}{}{blank}]", all.join(","))),
            (prop::collection::vec(member, 0..4), blank())
                .prop_map(|(all, blank)| format!("{{{blank}{}{blank}}}", all.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        drop(Envelope::of(&bytes));
    }

    #[test]
    fn no_input_of_the_right_letters_panics(text in "[\\{\\}\\[\\]\",:\\\\idu0-9 en]{0,40}") {
        drop(Envelope::of(text.as_bytes()));
        if let Some(mut elements) = Elements::of(text.as_bytes()) {
            while let Ok(Some(_)) = elements.next() {}
        }
    }

    #[test]
    fn what_a_parser_takes_is_found_as_it_finds_it(value in json(), more in json()) {
        let message = format!(r#"{{"a":{more},"params":{value},"b" : {more} }}"#);
        let found = Envelope::of(message.as_bytes()).unwrap();
        let span = found.params.unwrap();
        prop_assert_eq!(&message[span.range()], &value);
        prop_assert!(found.id.is_none());
        let parsed: Result<Box<serde_json::value::RawValue>, _> = serde_json::from_str(&value);
        prop_assert!(parsed.is_ok(), "{}", value);
    }

    /// A message that begins as most do is read as one that begins a little differently.
    #[test]
    fn a_usual_head_means_what_any_head_means(
        tail in prop_oneof![
            "[ \\{\\}\\[\\]\",:\\\\idnul0-9]{0,30}",
            (json(), json()).prop_map(|(id, value)| format!("{id},\"result\":{value}}}")),
            (json(), "[ \t]?").prop_map(|(id, blank)| format!("{blank}{id}{blank}}}")),
        ],
    ) {
        let texts = |head: &str| {
            let message = format!("{head}{tail}");
            let found = Envelope::of(message.as_bytes())?;
            let text = |span: Option<Span>| span.map(|span| message[span.range()].to_owned());
            let parts = [found.id, found.method, found.params, found.result, found.error];
            Ok::<_, Malformed>((found.has_version, found.has_lookalike, parts.map(text)))
        };
        let (usual, other) = (r#"{"jsonrpc":"2.0","id":"#, r#"{"jsonrpc": "2.0","id":"#);
        prop_assert_eq!(texts(usual), texts(other));
    }
}
