//! Prefixes of every width and order, by table.

use bytes::BytesMut;
use pool_stdio::codec::{BUFFER_SLACK_BYTES, ByteOrder, LengthCodec, PrefixWidth};
use tokio_util::codec::Encoder;

use crate::reader::{read_every_way, read_in_pieces};

pub(crate) const WIDTHS: [PrefixWidth; 4] = [
    PrefixWidth::One,
    PrefixWidth::Two,
    PrefixWidth::Four,
    PrefixWidth::Eight,
];
pub(crate) const ORDERS: [ByteOrder; 2] = [ByteOrder::Big, ByteOrder::Little];

fn codecs() -> impl Iterator<Item = (PrefixWidth, ByteOrder, LengthCodec)> {
    WIDTHS
        .into_iter()
        .flat_map(|width| ORDERS.map(|order| (width, order, LengthCodec::new(width, order))))
}

/// The prefix as the wire has it, made without the codec.
fn prefix(width: PrefixWidth, order: ByteOrder, length: u64) -> Vec<u8> {
    let bytes = width.bytes();
    match order {
        ByteOrder::Big => length.to_be_bytes()[8 - bytes..].to_vec(),
        ByteOrder::Little => length.to_le_bytes()[..bytes].to_vec(),
    }
}

#[test]
fn every_width_and_order_is_read_and_written() {
    for (width, order, mut codec) in codecs() {
        let mut expected = Vec::new();
        let mut wire = BytesMut::new();
        let frames = [&b""[..], b"a", b"\n\xff\x00", &[7; 200]];
        for frame in frames {
            expected.extend(prefix(width, order, frame.len() as u64));
            expected.extend_from_slice(frame);
            codec.encode(frame, &mut wire).expect("fits");
        }
        assert_eq!(wire, expected, "{width} {order:?}");
        let reading = read_every_way(&codec, &wire);
        assert_eq!(reading.frames, frames);
        assert!(reading.error.is_none());
    }
}

#[test]
fn the_limit_is_exact_in_both_directions() {
    for (width, order, codec) in codecs() {
        for limit in [0, 1, 2, 100, 254] {
            let codec = codec.clone().frame_bytes_max(limit);
            for bytes in limit.saturating_sub(1)..=limit + 1 {
                let body = vec![b'x'; bytes];
                let mut wire = BytesMut::from(&prefix(width, order, bytes as u64)[..]);
                let head = wire.escape_ascii().to_string();
                wire.extend_from_slice(&body);
                let reading = read_every_way(&codec, &wire);
                let mut written = BytesMut::new();
                let encoded = codec.clone().encode(&body, &mut written);
                if bytes <= limit {
                    assert_eq!((reading.frames.len(), reading.error_text()), (1, None));
                    encoded.expect("within the limit");
                    assert_eq!(written, wire);
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
                    assert!(written.is_empty());
                }
            }
        }
    }
}

#[test]
fn a_frame_that_its_prefix_cannot_announce_is_refused() {
    for (width, largest) in [(PrefixWidth::One, 255), (PrefixWidth::Two, 65_535)] {
        for order in ORDERS {
            let mut codec = LengthCodec::new(width, order);
            let mut dst = BytesMut::new();
            let body = vec![0; largest + 1];
            codec.encode(&body[1..], &mut dst).expect("fits exactly");
            assert_eq!(
                read_in_pieces(&mut codec, &dst, &[1_000]).frames,
                [&body[1..]]
            );
            dst.clear();
            let error = codec.encode(&body, &mut dst).expect_err("one too many");
            let bytes = width.bytes();
            let text = format!(
                "frame has {} bytes, a prefix of {bytes} bytes cannot say that",
                largest + 1
            );
            assert_eq!(error.to_string(), text);
            assert!(dst.is_empty());
        }
    }
}

#[test]
fn a_forged_length_is_refused_before_anything_is_allocated() {
    for order in ORDERS {
        for (width, length) in [
            (PrefixWidth::Four, u64::from(u32::MAX)),
            (PrefixWidth::Eight, u64::MAX),
            (PrefixWidth::Eight, 1 << 63),
        ] {
            let stream = [&prefix(width, order, length)[..], b"abc"].concat();
            let mut codec = LengthCodec::new(width, order);
            let reading = read_in_pieces(&mut codec, &stream, &[1]);
            let text = format!("frame of {length} bytes announced");
            assert!(
                reading
                    .error_text()
                    .is_some_and(|error| error.starts_with(&text))
            );
            assert!(reading.buffer_bytes_max <= BUFFER_SLACK_BYTES);

            let mut unlimited = LengthCodec::new(width, order).frame_bytes_max(usize::MAX);
            let reading = read_in_pieces(&mut unlimited, &stream, &[1]);
            assert!(
                reading.buffer_bytes_max <= BUFFER_SLACK_BYTES,
                "only as much as arrived"
            );
        }
    }
}

#[test]
fn a_stream_that_ends_anywhere_inside_a_frame_is_truncated() {
    for (width, order, codec) in codecs() {
        let stream = [&prefix(width, order, 3)[..], b"abc"].concat();
        let width = width.bytes();
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
