//! What holds for any frames and for any bytes.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use pool_stdio::codec::{
    DecodeError, HeaderCodec, HeaderFrame, LengthCodec, LengthPrefix, LineCodec, PromptCodec,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use tokio_util::codec::{Decoder, Encoder};

use crate::length::PREFIXES;
use crate::reader::{BUFFER_SLACK_BYTES, Reading, read_in_pieces};
use crate::replies::{announced, terminated};

/// Sizes of successive reads: small ones, and some that take all there is.
fn reads() -> impl Strategy<Value = Vec<usize>> {
    vec(
        prop_oneof![4 => 1..8_usize, 1 => 8..20_000_usize, 1 => Just(usize::MAX)],
        1..12,
    )
}

/// Bytes that meet the decoders' cases far more often than random ones would.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => vec(any::<u8>(), 0..6),
        2 => select(TOKENS)
            .prop_map(<[u8]>::to_vec),
        2 => (0..40_u64).prop_map(|n| format!("Content-Length: {n}\r\n").into_bytes()),
        1 => any::<u64>().prop_map(|n| format!("content-length:{n}\n").into_bytes()),
        1 => Just(b"X: y\n\n".to_vec()),
        1 => (0..3_000_usize).prop_map(|n| vec![b'x'; n]),
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

fn line_codec() -> impl Strategy<Value = LineCodec> {
    (frame_limit(), any::<bool>(), any::<bool>()).prop_map(|(limit, skips, delivers)| {
        let mut codec = LineCodec::new().frame_bytes_max(limit);
        if skips {
            codec = codec.skip_overlong_lines();
        }
        if delivers {
            codec = codec.deliver_partial_line();
        }
        codec
    })
}

fn length_codec() -> impl Strategy<Value = LengthCodec> {
    select(&PREFIXES[..]).prop_map(LengthCodec::new)
}

fn frame_limit() -> impl Strategy<Value = usize> {
    prop_oneof![0..6_usize, 0..4_000_usize]
}

/// Reads `stream` whole and in pieces, and holds both to each other and to the bound of memory.
fn read_both_ways<D>(
    decoder: &D,
    stream: &[u8],
    read_bytes: &[usize],
    frame_bytes_max: usize,
) -> Reading<D::Item>
where
    D: Decoder<Error = DecodeError> + Clone,
    D::Item: Debug + PartialEq,
{
    let whole = read_in_pieces(&mut decoder.clone(), stream, &[usize::MAX]);
    let cut = read_in_pieces(&mut decoder.clone(), stream, read_bytes);
    assert_eq!(whole.frames, cut.frames);
    assert_eq!(whole.error_text(), cut.error_text());
    for reading in [&whole, &cut] {
        let bound = frame_bytes_max + BUFFER_SLACK_BYTES;
        assert!(
            reading.buffer_bytes_max <= bound,
            "{} of {bound}",
            reading.buffer_bytes_max
        );
    }
    cut
}

/// The rules for lines, without a buffer: the lines that are delivered, and how many are skipped
/// before each of them.
fn lines_by_the_rules(stream: &[u8], limit: usize) -> Vec<(Vec<u8>, u64)> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut kept = Vec::new();
    let mut skipped = 0;
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        let content = line
            .strip_suffix(b"\n")
            .map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if content.len() <= limit {
            kept.push((content.to_vec(), std::mem::take(&mut skipped)));
        } else {
            skipped += 1;
        }
    }
    kept
}

proptest! {
    #[test]
    fn lines_survive_any_split(
        frames in vec(vec(any::<u8>(), 0..200), 0..30),
        read_bytes in reads(),
    ) {
        let (mut codec, mut wire) = (LineCodec::new(), BytesMut::new());
        let sent: Vec<_> =
            frames.into_iter().filter(|frame| codec.encode(frame, &mut wire).is_ok()).collect();
        let reading = read_both_ways(&LineCodec::new(), &wire, &read_bytes, 200);
        assert_eq!(reading.error_text(), None);
        assert!(reading.frames.iter().map(|line| &line.bytes).eq(sent.iter()));
    }

    #[test]
    fn header_frames_survive_any_split(
        frames in vec((vec(any::<u8>(), 0..2_000), vec(("[a-z-]{1,9}", "[!-~]{0,9}"), 0..4)), 0..12),
        read_bytes in reads(),
    ) {
        let (mut codec, mut wire) = (HeaderCodec::new(), BytesMut::new());
        let sent: Vec<_> = frames
            .into_iter()
            .map(|(body, headers)| {
                let headers = headers.into_iter();
                HeaderFrame {
                    headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
                    body: body.into(),
                }
            })
            .collect();
        for frame in &sent {
            codec.encode(frame.clone(), &mut wire).expect("within the limits");
        }
        let reading = read_both_ways(&codec, &wire, &read_bytes, 2_200);
        assert_eq!(reading.error_text(), None);
        assert_eq!(reading.frames, sent);
    }

    #[test]
    fn length_frames_survive_any_split(
        codec in length_codec(),
        frames in vec(vec(any::<u8>(), 0..256), 0..30),
        read_bytes in reads(),
    ) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            codec.clone().encode(frame, &mut wire).expect("fits");
        }
        let reading = read_both_ways(&codec, &wire, &read_bytes, 8 + 256);
        assert_eq!(reading.error_text(), None);
        assert_eq!(reading.frames, frames);
    }

    #[test]
    fn large_frames_stay_within_the_bound(
        size in 1..200_000_usize,
        beyond in 0..3_usize,
        read_bytes in reads(),
    ) {
        let body = vec![b'x'; size];
        let mut wire = BytesMut::new();
        let lines = LineCodec::new().frame_bytes_max(size + beyond);
        let headers = HeaderCodec::new().frame_bytes_max(size + beyond).header_bytes_max(64);
        let length = LengthCodec::new(LengthPrefix::U32Be)
            .frame_bytes_max(size + beyond);
        lines.clone().encode(&body, &mut wire).expect("within the limit");
        let wire = wire.repeat(3);
        assert_eq!(read_both_ways(&lines, &wire, &read_bytes, size + beyond).frames.len(), 3);
        let mut wire = BytesMut::new();
        headers.clone().encode(&body, &mut wire).expect("within the limit");
        let wire = wire.repeat(3);
        assert_eq!(read_both_ways(&headers, &wire, &read_bytes, 64 + size + beyond).frames.len(), 3);
        let mut wire = BytesMut::new();
        length.clone().encode(&body, &mut wire).expect("within the limit");
        let wire = wire.repeat(3);
        assert_eq!(read_both_ways(&length, &wire, &read_bytes, 4 + size + beyond).frames.len(), 3);
    }

    #[test]
    fn any_bytes_are_lines_by_the_rules_or_a_typed_error(
        stream in hostile_bytes(),
        codec in line_codec(),
        limit in frame_limit(),
        read_bytes in reads(),
    ) {
        let codec = codec.frame_bytes_max(limit);
        read_both_ways(&codec, &stream, &read_bytes, limit);
        let kept = lines_by_the_rules(&stream, limit);
        let mut skipping =
            codec.skip_overlong_lines().deliver_partial_line();
        let reading = read_in_pieces(&mut skipping, &stream, &read_bytes);
        let seen = reading.frames.iter().map(|line| (line.bytes.to_vec(), line.skipped));
        assert_eq!(seen.collect::<Vec<_>>(), kept);
    }

    #[test]
    fn any_bytes_are_header_frames_or_a_typed_error(
        stream in hostile_bytes(),
        limit in frame_limit(),
        header_limit in frame_limit(),
        read_bytes in reads(),
    ) {
        let codec = HeaderCodec::new().frame_bytes_max(limit).header_bytes_max(header_limit);
        let reading = read_both_ways(&codec, &stream, &read_bytes, limit + header_limit);
        assert!(reading.frames.iter().all(|frame| frame.body.len() <= limit));
    }

    #[test]
    fn any_bytes_are_replies_or_a_typed_error(
        stream in hostile_bytes(),
        limit in frame_limit(),
        read_bytes in reads(),
    ) {
        let codec = PromptCodec::new("\r\n").frame_bytes_max(limit);
        let reading = read_both_ways(&codec, &stream, &read_bytes, limit + 2);
        assert!(reading.frames.iter().all(|frame| frame.len() <= limit));
        let codec = terminated().frame_bytes_max(limit);
        let reading = read_both_ways(&codec, &stream, &read_bytes, limit);
        assert!(reading.frames.iter().all(|frame| frame.body.len() < limit));
        for codec in [announced(), announced().newline_after_body()] {
            let codec = codec.frame_bytes_max(limit);
            let reading = read_both_ways(&codec, &stream, &read_bytes, 2 * limit + 3);
            let fits = |body: &Bytes| body.len() <= limit;
            assert!(reading.frames.iter().all(|frame| frame.body.as_ref().is_none_or(fits)));
        }
    }

    #[test]
    fn any_bytes_are_length_frames_or_a_typed_error(
        stream in hostile_bytes(),
        codec in length_codec(),
        limit in frame_limit(),
        read_bytes in reads(),
    ) {
        let codec = codec.frame_bytes_max(limit);
        let reading = read_both_ways(&codec, &stream, &read_bytes, 8 + limit);
        assert!(reading.frames.iter().all(|frame| frame.len() <= limit));
    }
}

const TOKENS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\r",
    b"\xef\xbb\xbf",
    b"\0\0\0\x02ab",
    b"\x02\0\0\0",
    b"end\n",
    b"3\nabc\n",
    b"900\n",
];
