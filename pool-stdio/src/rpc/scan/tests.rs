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
        (r#"{"params":1,"params":1}"#, Malformed::TwoParams),
        (r#"{"jsonrpc":"2.0","id":[1]}"#, Malformed::BadId),
        (r#"{"jsonrpc":"2.0","id":1,"id":2}"#, Malformed::TwoIds),
        (r#"{"jsonrpc":"2.0","id":1 "a":2}"#, Malformed::NotJson),
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
fn what_does_not_begin_as_an_array_is_none() {
    for message in ["{}", "1", "", "]"] {
        assert!(Elements::of(message.as_bytes()).is_none(), "{message}");
    }
}

#[test]
fn members_that_say_nothing_are_left_out() {
    let found = Envelope::of(br#"{"method":null,"error":null,"id":1}"#).unwrap();
    assert_eq!((found.method, found.error), (None, None));
    let found = Envelope::of(br#"{"error":{}}"#).unwrap();
    assert!(found.error.is_some());
    let message = br#"{"id":1,"result":null}"#;
    let result = Envelope::of(message).unwrap().result;
    assert_eq!(result.map(|span| span.of(message)), Some(&b"null"[..]));
    for (version, expected) in [(r#""2.0""#, true), (r#""1.0""#, false), ("2.0", false)] {
        let message = format!(r#"{{"jsonrpc":{version}}}"#);
        let found = Envelope::of(message.as_bytes()).unwrap();
        assert_eq!(found.has_version, expected, "{version}");
    }
}

#[test]
fn one_lookalike_among_other_members_is_enough() {
    for (message, expected) in [
        (r#"{"ID":1,"x":2}"#, true),
        (r#"{"x":2,"Params":1}"#, true),
        (r#"{"METHOD":1,"method":"m"}"#, true),
        (r#"{"x":1,"method":"m","i":2}"#, false),
    ] {
        let found = Envelope::of(message.as_bytes()).unwrap();
        assert_eq!(found.has_lookalike, expected, "{message}");
    }
}

#[test]
fn the_depth_of_a_message_is_that_of_its_deepest_member() {
    for (message, depth) in [
        (r#"{"a":1}"#, 0),
        (r#"{"a":{}}"#, 1),
        (r#"{"a":[[]],"b":{}}"#, 2),
        (r#"{"a":[{"b":[1]},[[[]]]],"c":"[[[[["}"#, 4),
    ] {
        let found = Envelope::of(message.as_bytes()).unwrap();
        assert_eq!(found.depth, depth, "{message}");
    }
}

/// Short strings are searched in another way than long ones.
#[test]
fn a_string_of_any_length_ends_at_its_quote() {
    for length in 0..40 {
        for escaped_at in 0..=length {
            for escaped in ["", r#"\""#, r"\\"] {
                let (head, tail) = ("x".repeat(escaped_at), "y".repeat(length - escaped_at));
                let text = format!(r#""{head}{escaped}{tail}""#);
                let message = format!(r#"{{"a":[{text}],"params":{text},"z":"z"}}"#);
                let found = Envelope::of(message.as_bytes()).unwrap();
                let span = found.params.expect("it is there");
                assert_eq!(&message[span.range()], text);
            }
        }
    }
}

#[test]
fn a_number_is_written_as_json_writes_it() {
    let is_taken = |text: &str| {
        let message = format!(r#"{{"params":{text}}}"#);
        let found = Envelope::of(message.as_bytes());
        found.is_ok_and(|found| found.params.unwrap().of(message.as_bytes()) == text.as_bytes())
    };
    for number in [
        "0", "-0", "7", "-7", "10", "0.5", "10.05", "1e5", "1E+5", "1e-05", "-1.5e3", "0e0",
    ] {
        assert!(is_taken(number), "{number}");
    }
    for other in [
        "-", "01", "-01", "00", "1.", ".5", "1.e5", "1e", "1e+", "1e5x", "1e5.0", "+1", "1.5.2",
        "1x", "0x1", "--1", "x", "truE", "nul",
    ] {
        assert!(!is_taken(other), "{other}");
    }
}

#[test]
fn a_span_holds_positions_up_to_4_gib() {
    let last = usize::try_from(u32::MAX).unwrap();
    let span = Span::new(&(last - 1..last)).unwrap();
    assert_eq!(span.range(), last - 1..last);
    assert_eq!(Span::new(&(last..last + 1)), None);
    assert_eq!(Span::new(&(3..9)).unwrap().unquoted().range(), 4..8);
}

#[test]
fn a_name_is_what_it_means_however_it_is_escaped() {
    for (raw, text, expected) in [
        ("id", "id", true),
        (r"\u0069d", "id", true),
        (r"i\u0064", "id", true),
        (r"\u0069\u0064", "id", true),
        (r"\/a\u005f", "/a_", true),
        (r"a\u002Fb", "a/b", true),
        ("ix", "id", false),
        ("i", "id", false),
        ("idx", "id", false),
        ("ID", "id", false),
        (r"\u0049d", "id", false),
        (r"\u0069", "id", false),
        (r"\u0069dx", "id", false),
        (r"\u006", "id", false),
        (r"\u00zzd", "id", false),
        (r"i\nd", "id", false),
        (r"\id", "id", false),
        (r"i\", "id", false),
    ] {
        let found = says(raw.as_bytes(), text.as_bytes());
        assert_eq!(found, expected, "{raw} for {text}");
    }
}

#[test]
fn a_name_in_another_case_is_one_that_lenient_parsers_take() {
    for (raw, text, expected) in [
        ("id", "id", true),
        ("ID", "id", true),
        ("iD", "id", true),
        (r"\u0049D", "id", true),
        ("\u{131}d", "id", true),
        ("\u{130}D", "id", true),
        ("param\u{17f}", "params", true),
        ("to\u{212a}en", "token", true),
        (r"to\u212aen", "token", true),
        ("PARAMS", "params", true),
        ("ZA", "za", true),
        ("i", "id", false),
        ("ix", "id", false),
        ("idx", "id", false),
        ("@d", "`d", false),
        ("[d", "{d", false),
        ("\u{ff}d", "id", false),
    ] {
        let found = says_in_any_case(raw.as_bytes(), text.as_bytes());
        assert_eq!(found, expected, "{raw} for {text}");
    }
}

#[test]
fn equal_ids_have_one_spelling() {
    for (raw, spelled) in [
        ("1", "1"),
        ("1.0", "1.0"),
        (r#""a""#, r#""a""#),
        (r#""\u0061""#, r#""a""#),
        (r#""\/""#, r#""/""#),
        (r#""\"""#, r#""\"""#),
        // No text at all: it stays as it is.
        (r#""\ud800""#, r#""\ud800""#),
    ] {
        assert_eq!(canonical_id(raw.as_bytes()), spelled, "{raw}");
    }
}

#[test]
fn only_our_own_way_to_write_a_number_is_ours() {
    assert_eq!(own_number(b"0"), Some(0));
    assert_eq!(own_number(b"10"), Some(10));
    let longest = own_number(b"9999999999999999999");
    assert_eq!(longest, Some(9_999_999_999_999_999_999));
    assert_eq!(own_number(b"9007199254740991"), Some(9_007_199_254_740_991));
    for foreign in [
        "",
        "-1",
        "01",
        "1.0",
        "1e3",
        "\"1\"",
        "99999999999999999999",
        "1a",
        "1/",
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
