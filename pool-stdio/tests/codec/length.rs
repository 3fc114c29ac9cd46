//! Prefixes of every width and order, by table.

use bytes::BytesMut;
use pool_stdio::codec::{LengthCodec, LengthPrefix};
use tokio_util::codec::Encoder;

use crate::reader::{BUFFER_SLACK_BYTES, read_every_way, read_in_pieces};

pub(crate) const PREFIXES: [LengthPrefix; 7] = [
    LengthPrefix::U8,
    LengthPrefix::U16Be,
    LengthPrefix::U16Le,
    LengthPrefix::U32Be,
    LengthPrefix::U32Le,
    LengthPrefix::U64Be,
    LengthPrefix::U64Le,
];

fn codecs() -> impl Iterator<Item = (LengthPrefix, LengthCodec)> {
    PREFIXES
        .into_iter()
        .map(|prefix| (prefix, LengthCodec::new(prefix)))
}

/// The prefix as the wire has it, made without the codec.
fn written(prefix: LengthPrefix, length: u64) -> Vec<u8> {
    let (big, little) = (length.to_be_bytes(), length.to_le_bytes());
    match prefix {
        LengthPrefix::U8 => little[..1].to_vec(),
        LengthPrefix::U16Be => big[6..].to_vec(),
        LengthPrefix::U16Le => little[..2].to_vec(),
        LengthPrefix::U32Be => big[4..].to_vec(),
        LengthPrefix::U32Le => little[..4].to_vec(),
        LengthPrefix::U64Be => big.to_vec(),
        LengthPrefix::U64Le => little.to_vec(),
    }
}

#[test]
fn every_width_and_order_is_read_and_written() {
    for (prefix, mut codec) in codecs() {
        let mut expected = Vec::new();
        let mut wire = BytesMut::new();
        let frames = [&b""[..], b"a", b"\n\xff\x00", &[7; 200]];
        for frame in frames {
            expected.extend(written(prefix, frame.len() as u64));
            expected.extend_from_slice(frame);
            codec.encode(frame, &mut wire).expect("fits");
        }
        assert_eq!(wire, expected, "{prefix:?}");
        let reading = read_every_way(&codec, &wire);
        assert_eq!(reading.frames, frames);
        assert!(reading.error.is_none());
    }
}

#[test]
fn the_limit_is_exact_in_both_directions() {
    for (prefix, codec) in codecs() {
        for limit in [0, 1, 2, 100, 254] {
            let codec = codec.clone().frame_bytes_max(limit);
            for bytes in limit.saturating_sub(1)..=limit + 1 {
                let body = vec![b'x'; bytes];
                let mut wire = BytesMut::from(&written(prefix, bytes as u64)[..]);
                let head = wire.escape_ascii().to_string();
                wire.extend_from_slice(&body);
                let reading = read_every_way(&codec, &wire);
                let mut output = BytesMut::new();
                let encoded = codec.clone().encode(&body, &mut output);
                if bytes <= limit {
                    assert_eq!((reading.frames.len(), reading.error_text()), (1, None));
                    encoded.expect("within the limit");
                    assert_eq!(output, wire);
                } else {
                    let read = format!(
                        "frame of {bytes} bytes announced by \"{head}\", only {limit} are allowed"
                    );
                    assert_eq!(
                        (reading.frames.len(), reading.error_text()),
                        (0, Some(read))
                    );
                    let text = format!("frame has {bytes} bytes, only {limit} are allowed");
                    assert_eq!(encoded.expect_err("over the limit").to_string(), text);
                    assert!(output.is_empty());
                }
            }
        }
    }
}

#[test]
fn a_frame_that_its_prefix_cannot_announce_is_refused() {
    let narrow = [
        (LengthPrefix::U8, 1, 255),
        (LengthPrefix::U16Be, 2, 65_535),
        (LengthPrefix::U16Le, 2, 65_535),
    ];
    for (prefix, bytes, largest) in narrow {
        let mut codec = LengthCodec::new(prefix);
        let mut dst = BytesMut::new();
        let body = vec![0; largest + 1];
        codec.encode(&body[1..], &mut dst).expect("fits exactly");
        assert_eq!(
            read_in_pieces(&mut codec, &dst, &[1_000]).frames,
            [&body[1..]]
        );
        dst.clear();
        let error = codec.encode(&body, &mut dst).expect_err("one too many");
        let text = format!(
            "frame has {} bytes, a prefix of {bytes} bytes cannot say that",
            largest + 1
        );
        assert_eq!(error.to_string(), text);
        assert!(dst.is_empty());
    }
}

#[test]
fn a_forged_length_is_refused_before_anything_is_allocated() {
    for (prefix, length) in [
        (LengthPrefix::U32Be, u64::from(u32::MAX)),
        (LengthPrefix::U32Le, u64::from(u32::MAX)),
        (LengthPrefix::U64Be, u64::MAX),
        (LengthPrefix::U64Le, u64::MAX),
        (LengthPrefix::U64Be, 1 << 63),
        (LengthPrefix::U64Le, 1 << 63),
    ] {
        let stream = [&written(prefix, length)[..], b"abc"].concat();
        let mut codec = LengthCodec::new(prefix);
        let reading = read_in_pieces(&mut codec, &stream, &[1]);
        let text = format!("frame of {length} bytes announced");
        assert!(
            reading
                .error_text()
                .is_some_and(|error| error.starts_with(&text))
        );
        assert!(reading.buffer_bytes_max <= BUFFER_SLACK_BYTES);

        let mut unlimited = LengthCodec::new(prefix).frame_bytes_max(usize::MAX);
        let reading = read_in_pieces(&mut unlimited, &stream, &[1]);
        assert!(
            reading.buffer_bytes_max <= BUFFER_SLACK_BYTES,
            "only as much as arrived"
        );
    }
}

#[test]
fn a_stream_that_ends_anywhere_inside_a_frame_is_truncated() {
    for (prefix, codec) in codecs() {
        let head = written(prefix, 3);
        let width = head.len();
        let stream = [&head[..], b"abc"].concat();
        for cut in 1..stream.len() {
            let reading = read_every_way(&codec, &stream[..cut]);
            let (part, partial) = if cut < width {
                (format!("a prefix of {width} bytes"), &stream[..cut])
            } else {
                ("a body of 3 bytes".to_owned(), &stream[width..cut])
            };
            let text = format!(
                "stream ended inside {part}, after {} bytes of it: \"{}\"",
                partial.len(),
                partial.escape_ascii()
            );
            assert_eq!(
                (reading.frames.len(), reading.error_text()),
                (0, Some(text))
            );
        }
    }
}
