//! What a line is, by table.

use bytes::{Bytes, BytesMut};
use pool_stdio::codec::{DecodeError, EncodeError, LineCodec};
use tokio::io::AsyncReadExt;
use tokio_stream::StreamExt;
use tokio_util::codec::{Encoder, FramedRead};

use crate::reader::{BUFFER_SLACK_BYTES, read_every_way, read_in_pieces};

/// Delivers a last line without a newline.
fn lenient() -> LineCodec {
    LineCodec::new().deliver_partial_line()
}

/// Lines as text, a line that the stream's end cut off with an ellipsis, and an error's text.
fn read(codec: &LineCodec, stream: &[u8]) -> (Vec<String>, Option<String>) {
    let reading = read_every_way(codec, stream);
    let shown = |line: &pool_stdio::codec::Line| {
        let mark = if line.is_terminated { "" } else { "..." };
        format!("{}{mark}", line.bytes.escape_ascii())
    };
    (
        reading.frames.iter().map(shown).collect(),
        reading.error_text(),
    )
}

#[test]
fn a_line_ends_at_a_line_feed_and_loses_one_carriage_return() {
    let table: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"\n", &[""]),
        (b"\r\n", &[""]),
        (b"a\nb\n", &["a", "b"]),
        (b"a\r\nb\n", &["a", "b"]),
        (b"a\r\r\n", &["a\\r"]),
        (b"a\rb\n", &["a\\rb"]),
        (b"\ra\n", &["\\ra"]),
        (b"\n\n\n", &["", "", ""]),
        (
            b"\x00\xff\xfe\n\xc3\n\xa9\n",
            &["\\x00\\xff\\xfe", "\\xc3", "\\xa9"],
        ),
    ];
    for (stream, expected) in table {
        let (lines, error) = read(&LineCodec::new(), stream);
        assert_eq!(
            (lines, error),
            (expected.iter().map(ToString::to_string).collect(), None)
        );
    }
}

#[test]
fn one_byte_order_mark_at_the_start_is_stripped() {
    let table: &[(&[u8], &[&str])] = &[
        (b"\xef\xbb\xbf", &[]),
        (b"\xef\xbb\xbfa\n", &["a"]),
        (b"\xef\xbb\xbf\n", &[""]),
        (b"\xef\xbb\xbf\xef\xbb\xbfa\n", &["\\xef\\xbb\\xbfa"]),
        (b"a\n\xef\xbb\xbfb\n", &["a", "\\xef\\xbb\\xbfb"]),
        (b"\n\xef\xbb\xbfb\n", &["", "\\xef\\xbb\\xbfb"]),
        (b"\xef\xbba\n", &["\\xef\\xbba"]),
        (b"\xef\xbb", &["\\xef\\xbb..."]),
        (b"\xef\n", &["\\xef"]),
    ];
    for (stream, expected) in table {
        let (lines, error) = read(&lenient(), stream);
        assert_eq!(
            (lines, error),
            (expected.iter().map(ToString::to_string).collect(), None)
        );
    }
    let marked = b"\xef\xbb\xbfabcd\n";
    let (lines, error) = read(&LineCodec::new().frame_bytes_max(4), marked);
    assert_eq!(
        (lines, error),
        (vec!["abcd".to_owned()], None),
        "the mark does not count"
    );
}

#[test]
fn a_line_without_newline_is_refused_unless_it_is_asked_for() {
    let table: &[(&[u8], &str, &str)] = &[
        (
            b"a\nbc",
            "bc...",
            "stream ended inside a line, after 2 bytes of it: \"bc\"",
        ),
        (
            b"a\nbc\r",
            "bc\\r...",
            "stream ended inside a line, after 3 bytes of it: \"bc\\r\"",
        ),
        (
            b"a\n\r",
            "\\r...",
            "stream ended inside a line, after 1 bytes of it: \"\\r\"",
        ),
    ];
    for (stream, marked, text) in table {
        let (lines, error) = read(&lenient(), stream);
        assert_eq!(
            (lines, error),
            (vec!["a".to_owned(), (*marked).to_owned()], None)
        );
        let (lines, error) = read(&LineCodec::new(), stream);
        assert_eq!(
            (lines, error),
            (vec!["a".to_owned()], Some((*text).to_owned()))
        );
    }
    assert_eq!(
        read(&LineCodec::new(), b"a\r\n"),
        (vec!["a".to_owned()], None)
    );
}

#[test]
fn a_truncated_line_is_kept_in_the_error_and_shown_in_part() {
    let stream = vec![b'x'; 1_000];
    let mut codec = LineCodec::new();
    let error = read_in_pieces(&mut codec, &stream, &[300])
        .error
        .expect("no newline");
    assert!(
        error.to_string().ends_with("xx\" and 744 bytes more"),
        "{error}"
    );
    assert!(format!("{error:?}").len() < 400);
    assert!(matches!(
        error,
        DecodeError::TruncatedFrame { partial, .. } if partial.as_ref() == stream
    ));
}

#[test]
fn the_limit_is_exact_whatever_ends_the_line() {
    for limit in [0, 1, 2, 3, 255, 256, 257] {
        let codec = lenient().frame_bytes_max(limit);
        for (bytes, end) in
            (limit.saturating_sub(1)..=limit + 2).flat_map(|n| ["\n", "\r\n", ""].map(|e| (n, e)))
        {
            let stream = format!("{}{end}", "x".repeat(bytes));
            let (lines, error) = read(&codec, stream.as_bytes());
            if bytes <= limit {
                assert_eq!(
                    (lines.len(), error),
                    (usize::from(!stream.is_empty()), None)
                );
            } else {
                let shown = "x".repeat((limit + 1).min(256));
                let text = format!("line is longer than {limit} bytes, it begins with \"{shown}\"");
                assert_eq!(
                    (lines, error),
                    (vec![], Some(text)),
                    "{bytes} of {limit}, {end:?}"
                );
            }
        }
    }
}

#[test]
fn a_carriage_return_at_the_limit_counts_unless_a_newline_follows() {
    let codec = lenient().frame_bytes_max(2);
    assert_eq!(read(&codec, b"ab\r\n").0, ["ab"]);
    for over in [&b"ab\r"[..], b"ab\rc\n", b"ab\r\r\n"] {
        let text = "line is longer than 2 bytes, it begins with \"ab\\r\"";
        assert_eq!(read(&codec, over), (vec![], Some(text.to_owned())));
    }
}

#[test]
fn earlier_lines_are_delivered_before_the_error() {
    let (lines, error) = read(&LineCodec::new().frame_bytes_max(2), b"a\nb\nlong\nc\n");
    assert_eq!(lines, ["a", "b"]);
    assert_eq!(
        error.as_deref(),
        Some("line is longer than 2 bytes, it begins with \"lon\"")
    );
}

#[test]
fn skipped_lines_are_counted_and_the_next_line_is_whole() {
    let table: &[(&[u8], &[&str], &[u64])] = &[
        (b"long\nab\n", &["ab"], &[1]),
        (b"abc\nab\nlonger\r\nc\n", &["ab", "c"], &[1, 1]),
        (b"longer\nlonger\n\na\n", &["", "a"], &[2, 0]),
        (b"ab\nlonger", &["ab"], &[0]),
        (b"ab\r", &[], &[]),
        (b"long\na", &["a..."], &[1]),
    ];
    for (stream, expected, skipped) in table {
        let codec = lenient().frame_bytes_max(2).skip_overlong_lines();
        let (seen, error) = read(&codec, stream);
        assert_eq!(
            (seen, error),
            (expected.iter().map(ToString::to_string).collect(), None)
        );
        for read_bytes in 1..=stream.len() {
            let mut codec = codec.clone();
            let reading = read_in_pieces(&mut codec, stream, &[read_bytes]);
            let seen: Vec<_> = reading.frames.iter().map(|line| line.skipped).collect();
            assert_eq!(seen, *skipped);
        }
    }
}

#[tokio::test]
async fn a_flood_without_newline_keeps_the_buffer_flat() {
    const LIMIT: usize = 64 * 1024;
    let flood = tokio::io::repeat(b'x').take(16 << 20).chain(&b"\nok\n"[..]);
    let codec = LineCodec::new()
        .frame_bytes_max(LIMIT)
        .skip_overlong_lines();
    let mut lines = FramedRead::new(flood, codec);
    let line = lines.next().await.expect("a line").expect("no error");
    assert_eq!((&line.bytes[..], line.skipped), (&b"ok"[..], 1));
    assert!(lines.read_buffer().capacity() <= LIMIT + BUFFER_SLACK_BYTES);
}

#[test]
fn what_a_line_cannot_carry_is_refused_and_nothing_is_written() {
    let table: &[(&[u8], &str)] = &[
        (b"ab\ncd", "line frame has a newline at offset 2"),
        (b"abcd\n", "line frame has a newline at offset 4"),
        (b"abc\r", "line frame of 4 bytes ends in a carriage return"),
        (
            b"\xef\xbb\xbfa",
            "first line frame, of 4 bytes, begins with a byte order mark",
        ),
        (b"abcdef", "frame has 6 bytes, only 5 are allowed"),
    ];
    for (frame, text) in table {
        let mut codec = LineCodec::new().frame_bytes_max(5);
        let mut dst = BytesMut::from("before");
        let error = codec.encode(frame, &mut dst).expect_err("refused");
        assert_eq!(error.to_string(), *text);
        assert_eq!(dst, "before");
    }
    for frame in [&b""[..], b"abcd", b"abcde", b"a\rb", b"\xff\x00"] {
        let mut dst = BytesMut::new();
        LineCodec::new()
            .frame_bytes_max(5)
            .encode(frame, &mut dst)
            .expect("carried");
        assert_eq!(dst, [frame, b"\n"].concat());
    }
}

#[test]
fn only_the_first_line_may_not_begin_with_a_byte_order_mark() {
    let (mut codec, mut dst) = (LineCodec::new(), BytesMut::new());
    let marked = Bytes::from_static(b"\xef\xbb\xbfa");
    assert!(matches!(
        codec.encode(marked.clone(), &mut dst),
        Err(EncodeError::LeadingByteOrderMark { frame_bytes: 4 })
    ));
    codec.encode("a", &mut dst).expect("carried");
    codec
        .encode(marked.clone(), &mut dst)
        .expect("carried by now");
    let reading = read_every_way(&LineCodec::new(), &dst);
    assert_eq!(reading.frames[1].bytes, marked);
}
