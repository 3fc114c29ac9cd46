//! How a header block is read and written, by table.

use bytes::{Bytes, BytesMut};
use pool_stdio::codec::{EncodeError, HeaderCodec, HeaderFrame};
use tokio_util::codec::{Decoder, Encoder};

use crate::reader::{BUFFER_SLACK_BYTES, read_every_way, read_in_pieces};

fn frame(body: &str, headers: &[(&[u8], &[u8])]) -> HeaderFrame {
    let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let headers = headers.iter();
    HeaderFrame {
        headers: headers
            .map(|(name, value)| (copied(name), copied(value)))
            .collect(),
        body: copied(body.as_bytes()),
    }
}

/// Frames as `name=value;body`, and an error's text.
fn read(codec: &HeaderCodec, stream: &[u8]) -> (Vec<String>, Option<String>) {
    let reading = read_every_way(codec, stream);
    let shown = |frame: &HeaderFrame| {
        let mut text = String::new();
        for (name, value) in &frame.headers {
            text += &format!("{}={};", name.escape_ascii(), value.escape_ascii());
        }
        text + &frame.body.escape_ascii().to_string()
    };
    (
        reading.frames.iter().map(shown).collect(),
        reading.error_text(),
    )
}

#[test]
fn lenient_blocks_are_read() {
    let table: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"Content-Length: 2\r\n\r\n{}", &["{}"]),
        (b"Content-Length: 2\n\n{}", &["{}"]),
        (b"Content-Length: 2\r\n\n{}", &["{}"]),
        (b"Content-Length: 2\n\r\n{}", &["{}"]),
        (b"Content-Length:2\r\n\r\n{}", &["{}"]),
        (b"Content-Length:\t 2 \t\r\n\r\n{}", &["{}"]),
        (b"content-length: 2\r\n\r\n{}", &["{}"]),
        (b"CONTENT-LENGTH: 2\r\n\r\n{}", &["{}"]),
        (b"Content-Length: 0\r\n\r\n", &[""]),
        (b"Content-Length: 0002\r\n\r\n{}", &["{}"]),
        (
            b"Content-Length: 2\r\nContent-Length: 02\r\n\r\n{}",
            &["{}"],
        ),
        (b"\xef\xbb\xbfContent-Length: 2\r\n\r\n{}", &["{}"]),
        (
            b"Content-Length: 3\n\n\xff\r\nContent-Length: 1\n\n\n",
            &["\\xff\\r\\n", "\\n"],
        ),
        (
            b"X-A: b: c\nContent-Length: 1\nX-A:\n\n{",
            &["X-A=b: c;X-A=;{"],
        ),
        (
            b"Content-Type: a/b; c=d\r\nContent-Length: 1\r\n\r\n{",
            &["Content-Type=a/b; c=d;{"],
        ),
    ];
    for (stream, expected) in table {
        let (frames, error) = read(&HeaderCodec::new(), stream);
        assert_eq!(
            (frames, error),
            (expected.iter().map(ToString::to_string).collect(), None)
        );
    }
}

#[test]
fn anything_else_is_refused_with_what_stands_there() {
    let table: &[(&[u8], &str)] = &[
        (
            b"Starting up...\nContent-Length: 2\r\n\r\n{}",
            "not a header line: \"Starting up...\"",
        ),
        (
            b"at \x1b[1m12:30\r\n",
            "not a header line: \"at \\x1b[1m12:30\"",
        ),
        (b"[log] a: b\n", "not a header line: \"[log] a: b\""),
        (b"{\"id\":1}\n", "not a header line: \"{\\\"id\\\":1}\""),
        (b": 2\n", "not a header line: \": 2\""),
        (
            b"Content-Length : 2\n",
            "not a header line: \"Content-Length : 2\"",
        ),
        (b"\n", "no Content-Length in the header block \"\\n\""),
        (
            b"A: b\r\n\r\n",
            "no Content-Length in the header block \"A: b\\r\\n\\r\\n\"",
        ),
        (
            b"Content-Length: two\n",
            "Content-Length is not a length: \"two\"",
        ),
        (
            b"Content-Length: -2\n",
            "Content-Length is not a length: \"-2\"",
        ),
        (
            b"Content-Length: +2\n",
            "Content-Length is not a length: \"+2\"",
        ),
        (b"Content-Length:\n", "Content-Length is not a length: \"\""),
        (
            b"Content-Length: 2 2\n",
            "Content-Length is not a length: \"2 2\"",
        ),
        (
            b"Content-Length: 2\r\r\n",
            "Content-Length is not a length: \"2\\r\"",
        ),
        (
            b"Content-Length: 18446744073709551616\n",
            "Content-Length is not a length: \"18446744073709551616\"",
        ),
        (
            b"Content-Length: 2\nContent-length: 3\n",
            "Content-Length is 2, and then 3",
        ),
    ];
    for (stream, text) in table {
        assert_eq!(
            read(&HeaderCodec::new(), stream),
            (vec![], Some((*text).to_owned()))
        );
    }
}

#[test]
fn a_forged_length_is_refused_before_anything_is_allocated() {
    let codec = HeaderCodec::new().frame_bytes_max(100);
    for stated in ["101", "4294967296", "18446744073709551615"] {
        let stream = format!("Content-Length: {stated}\r\n\r\n");
        let mut src = BytesMut::from(stream.as_str());
        let error = codec.clone().decode(&mut src).expect_err("over the limit");
        let text = format!(
            "frame of {stated} bytes announced by \"Content-Length: {stated}\\r\\n\\r\\n\", \
             only 100 are allowed"
        );
        assert_eq!(error.to_string(), text);
        assert!(src.capacity() <= BUFFER_SLACK_BYTES);
    }
    let mut unlimited = HeaderCodec::new().frame_bytes_max(usize::MAX);
    let stream = format!("Content-Length: {}\r\n\r\nabc", usize::MAX);
    let reading = read_in_pieces(&mut unlimited, stream.as_bytes(), &[1]);
    assert!(
        reading.buffer_bytes_max <= BUFFER_SLACK_BYTES,
        "{}",
        reading.buffer_bytes_max
    );
}

#[test]
fn the_limit_of_a_body_is_exact() {
    for limit in [0, 1, 2, 300] {
        let codec = HeaderCodec::new().frame_bytes_max(limit);
        for bytes in limit.saturating_sub(1)..=limit + 1 {
            let stream = format!("Content-Length: {bytes}\n\n{}", "x".repeat(bytes));
            let (frames, error) = read(&codec, stream.as_bytes());
            assert_eq!(
                (frames.len(), error.is_some()),
                if bytes <= limit {
                    (1, false)
                } else {
                    (0, true)
                }
            );
        }
    }
}

#[test]
fn the_limit_of_a_block_is_exact() {
    let head = "Content-Length: 0\r\nX: yz\r\n\r\n";
    let stream = head.repeat(2);
    for limit in head.len() - 1..=head.len() + 1 {
        let (frames, error) = read(
            &HeaderCodec::new().header_bytes_max(limit),
            stream.as_bytes(),
        );
        if limit >= head.len() {
            assert_eq!((frames.len(), error), (2, None));
        } else {
            let text = "no end of the header block within 27 bytes, it begins with \
                        \"Content-Length: 0\\r\\nX: yz\\r\\n\\r\"";
            assert_eq!((frames, error), (vec![], Some(text.to_owned())));
        }
    }
    for junk in [&b"xxxxxxxxx"[..], b"A:b\nA:b\nA:b\n"] {
        let (_, error) = read(&HeaderCodec::new().header_bytes_max(8), junk);
        assert!(error.is_some_and(|text| text.contains("within 8 bytes, it begins with")));
    }
}

#[test]
fn a_stream_that_ends_anywhere_inside_a_frame_is_truncated() {
    let stream = b"Content-Length: 3\r\n\r\nabc";
    let head_bytes = stream.len() - 3;
    for cut in 1..stream.len() {
        let (frames, error) = read(&HeaderCodec::new(), &stream[..cut]);
        let (part, partial) = match cut.checked_sub(head_bytes) {
            None => ("a header block", &stream[..cut]),
            Some(_) => ("a body of 3 bytes", &stream[head_bytes..cut]),
        };
        let text = format!(
            "stream ended inside {part}, after {} bytes of it: \"{}\"",
            partial.len(),
            partial.escape_ascii()
        );
        assert_eq!((frames, error), (vec![], Some(text)));
    }
}

#[test]
fn frames_are_written_with_their_headers() {
    let frame = frame("{}", &[(b"X-A", b"b c"), (b"X-B", b"")]);
    let (mut codec, mut wire) = (HeaderCodec::new(), BytesMut::new());
    codec
        .encode(frame.clone(), &mut wire)
        .expect("within the limits");
    codec
        .encode(Bytes::from_static(b"[]"), &mut wire)
        .expect("within the limits");
    assert_eq!(
        wire,
        "Content-Length: 2\r\nX-A: b c\r\nX-B: \r\n\r\n{}Content-Length: 2\r\n\r\n[]"
    );
    let reading = read_every_way(&codec, &wire);
    assert_eq!(reading.frames, [frame, self::frame("[]", &[])]);

    let (received, mut again) = (reading.frames[0].clone(), BytesMut::new());
    codec
        .encode(received, &mut again)
        .expect("within the limits");
    assert!(
        wire.starts_with(&again),
        "a received frame is sent on with one Content-Length"
    );
}

#[test]
fn what_a_block_cannot_carry_is_refused() {
    let table: &[(&[u8], &[u8])] = &[
        (b"", b"v"),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"a\n", b"v"),
        (b"content-LENGTH", b"2"),
        (b"a", b"v\nContent-Length: 9"),
        (b"a", b"v\r"),
        (b"a", b" v"),
        (b"a", b"v\t"),
    ];
    for (name, value) in table {
        let mut dst = BytesMut::from("before");
        let refused = frame("", &[(b"X-Good", b"v"), (name, value)]);
        let error = HeaderCodec::new().encode(refused, &mut dst);
        let error = error.expect_err("refused");
        assert!(matches!(error, EncodeError::BadHeader { .. }));
        assert_eq!(dst, "before");
    }
}

#[test]
fn frames_over_a_limit_are_not_written() {
    let mut codec = HeaderCodec::new().frame_bytes_max(2).header_bytes_max(28);
    let mut dst = BytesMut::from("before");
    let error = codec.encode("abc", &mut dst).expect_err("too long");
    assert_eq!(error.to_string(), "frame has 3 bytes, only 2 are allowed");
    let frame = |value: &str| frame("ab", &[(b"X", value.as_bytes())]);
    let error = codec.encode(frame("yzz"), &mut dst).expect_err("too long");
    assert_eq!(
        error.to_string(),
        "header block has 29 bytes, only 28 are allowed"
    );
    assert_eq!(dst, "before");
    codec
        .encode(frame("yz"), &mut dst)
        .expect("exactly the limit");
    let mut sent = dst.split_off("before".len());
    assert!(
        codec
            .decode(&mut sent)
            .expect("the limits are the same")
            .is_some()
    );
}
