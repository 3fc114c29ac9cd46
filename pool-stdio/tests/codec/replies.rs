//! Replies up to a prompt, up to a last line, and behind a line with their length, by table.

use bytes::BytesMut;
use pool_stdio::codec::{LengthLineCodec, PromptCodec, TerminatorCodec};
use tokio_util::codec::Encoder;

use crate::reader::{BUFFER_SLACK_BYTES, read_every_way, read_in_pieces};

/// Frames and the error of a stream, as text.
type Read = (Vec<String>, Option<String>);

fn texts(expected: &[&str]) -> Vec<String> {
    expected.iter().map(ToString::to_string).collect()
}

pub(crate) fn terminated() -> TerminatorCodec {
    TerminatorCodec::new(|line| line == b"end" || line.starts_with(b"end "))
}

/// `SIZE` and a body, or a line that is no number.
pub(crate) fn announced() -> LengthLineCodec {
    LengthLineCodec::new(|line| std::str::from_utf8(line).ok()?.parse().ok())
}

fn until_prompt(codec: &PromptCodec, stream: &[u8]) -> Read {
    let reading = read_every_way(codec, stream);
    let frames = reading.frames.iter();
    let frames = frames.map(|frame| frame.escape_ascii().to_string());
    (frames.collect(), reading.error_text())
}

fn until_last_line(codec: &TerminatorCodec, stream: &[u8]) -> Read {
    let reading = read_every_way(codec, stream);
    let shown = |frame: &pool_stdio::codec::TerminatedLines| {
        let (body, last) = (frame.body.escape_ascii(), frame.last_line.escape_ascii());
        format!("{body}|{last}")
    };
    (
        reading.frames.iter().map(shown).collect(),
        reading.error_text(),
    )
}

fn by_length(codec: &LengthLineCodec, stream: &[u8]) -> Read {
    let reading = read_every_way(codec, stream);
    let shown = |frame: &pool_stdio::codec::LengthLineFrame| {
        let body = frame.body.as_ref().map(|body| body.escape_ascii());
        let body = body.map_or_else(|| "-".to_owned(), |body| body.to_string());
        format!("{}|{body}", frame.line.escape_ascii())
    };
    (
        reading.frames.iter().map(shown).collect(),
        reading.error_text(),
    )
}

#[test]
fn a_reply_ends_where_the_first_prompt_stands() {
    let codec = PromptCodec::new(">> ");
    let table: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b">> ", &[""]),
        (b"banner\n>> ", &["banner\\n"]),
        (b"1\n>> 2\n>> ", &["1\\n", "2\\n"]),
        (b"no newline>> ", &["no newline"]),
        (b">>> ", &[">"]),
        (b">>>> x\n>> ", &[">>", "x\\n"]),
        (b"\xff\x00>> ", &["\\xff\\x00"]),
    ];
    for (stream, expected) in table {
        assert_eq!(until_prompt(&codec, stream), (texts(expected), None));
    }
    let cut_off = "stream ended inside a reply, after 4 bytes of it: \"1\\n>>\"";
    let read = until_prompt(&codec, b"0\n>> 1\n>>");
    assert_eq!(read, (texts(&["0\\n"]), Some(cut_off.to_owned())));
}

#[test]
fn a_reply_without_a_prompt_ends_at_the_limit() {
    for limit in [0, 1, 2, 5] {
        let codec = PromptCodec::new("> ").frame_bytes_max(limit);
        let reply = "x".repeat(limit);
        let fits = format!("{reply}> {reply}> ");
        assert_eq!(
            until_prompt(&codec, fits.as_bytes()),
            (texts(&[&reply, &reply]), None)
        );
        let over = format!("{reply}x> ");
        let (frames, error) = until_prompt(&codec, over.as_bytes());
        let text = format!("no end of the reply within {limit} bytes, it begins with ");
        assert!(frames.is_empty() && error.unwrap().starts_with(&text));
    }
}

#[test]
fn a_reply_ends_with_its_last_line() {
    let table: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"end\n", &["|end"]),
        (b"a\nb\r\nend 7\r\n", &["a\\nb\\r\\n|end 7"]),
        (b"a\nend\n\nb end\nend\n", &["a\\n|end", "\\nb end\\n|end"]),
        (b"ending\nend\n", &["ending\\n|end"]),
    ];
    for (stream, expected) in table {
        assert_eq!(
            until_last_line(&terminated(), stream),
            (texts(expected), None)
        );
    }
    for cut_off in [&b"a\n"[..], b"a\nend", b"a\nend\r"] {
        let text = format!(
            "stream ended inside a reply, after {} bytes of it: \"{}\"",
            cut_off.len(),
            cut_off.escape_ascii()
        );
        assert_eq!(
            until_last_line(&terminated(), cut_off),
            (vec![], Some(text))
        );
    }
}

#[test]
fn lines_without_a_last_one_end_at_the_limit() {
    let codec = terminated().frame_bytes_max(6);
    assert_eq!(
        until_last_line(&codec, b"a\nend\nb\nend\n"),
        (texts(&["a\\n|end", "b\\n|end"]), None)
    );
    for over in [&b"ab\nend\n"[..], b"abcdefg", b"a\nb\nc\nd\n"] {
        let (frames, error) = until_last_line(&codec, over);
        let text = "no end of the reply within 6 bytes, it begins with ";
        assert!(frames.is_empty() && error.unwrap().starts_with(text));
    }
}

#[test]
fn a_body_is_as_long_as_its_line_says() {
    let table: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"3\nabc", &["3|abc"]),
        (b"3\r\na\nb0\n2\nxy", &["3|a\\nb", "0|", "2|xy"]),
        (b"missing\n1\nx\n", &["missing|-", "1|x", "|-"]),
    ];
    for (stream, expected) in table {
        assert_eq!(by_length(&announced(), stream), (texts(expected), None));
    }
    let with_newline = announced().newline_after_body();
    assert_eq!(
        by_length(&with_newline, b"3\nabc\nmissing\n0\n\n"),
        (texts(&["3|abc", "missing|-", "0|"]), None)
    );
    let wrong = "body of 2 bytes is followed by \"c\" and not by a newline";
    assert_eq!(
        by_length(&with_newline, b"1\nx\n2\nabc\n"),
        (texts(&["1|x"]), Some(wrong.to_owned()))
    );
}

#[test]
fn a_line_or_a_body_that_is_too_long_or_cut_off_is_told() {
    let codec = announced().frame_bytes_max(4);
    assert_eq!(by_length(&codec, b"four\r\n"), (texts(&["four|-"]), None));
    let table: &[(&[u8], &str)] = &[
        (
            b"fives\n",
            "line is longer than 4 bytes, it begins with \"fives\"",
        ),
        (
            b"5\nabcde",
            "frame of 5 bytes announced by \"5\", only 4 are allowed",
        ),
        (
            b"3\nab",
            "stream ended inside a body of 3 bytes, after 2 bytes of it: \"ab\"",
        ),
        (
            b"3",
            "stream ended inside a line, after 1 bytes of it: \"3\"",
        ),
    ];
    for (stream, text) in table {
        assert_eq!(
            by_length(&codec, stream),
            (vec![], Some((*text).to_owned()))
        );
    }
    let mut unlimited = announced().frame_bytes_max(usize::MAX);
    let stream = format!("{}\nabc", u64::MAX);
    let reading = read_in_pieces(&mut unlimited, stream.as_bytes(), &[1]);
    assert!(reading.frames.is_empty() && reading.error.is_some());
    assert!(reading.buffer_bytes_max <= BUFFER_SLACK_BYTES);
}

#[test]
fn a_request_is_one_line() {
    fn check<C: for<'a> Encoder<&'a str, Error = pool_stdio::codec::EncodeError>>(mut codec: C) {
        let mut wire = BytesMut::new();
        for refused in ["two\nlines", "return\r", "too long"] {
            codec.encode(refused, &mut wire).unwrap_err();
            assert!(wire.is_empty());
        }
        codec.encode("one", &mut wire).unwrap();
        assert_eq!(wire, "one\n");
    }
    check(PromptCodec::new("> ").frame_bytes_max(7));
    check(terminated().frame_bytes_max(7));
    check(announced().frame_bytes_max(7));
}
