//! What every fuzz target of a codec asserts: no panic, no memory beyond the bound, and the same outcome
//! however the reads cut the stream.
//!
//! In `pool-stdio`: `cargo +nightly fuzz run lines`, likewise `length`, `replies` and `scan`, and with words to begin with
//! `cargo +nightly fuzz run headers -- -dict=fuzz/headers.dict`.

use std::fmt::Debug;

use bytes::{BufMut, BytesMut};
use pool_stdio::codec::DecodeError;
use tokio_util::codec::Decoder;

/// Takes the first `N` bytes of the input to choose a configuration by; the rest is the stream.
pub fn choices<const N: usize>(input: &[u8]) -> Option<([usize; N], &[u8])> {
    let (chosen, stream) = input.split_first_chunk::<N>()?;
    Some((chosen.map(usize::from), stream))
}

/// Reads `stream` at once, byte by byte and in pieces of `read_bytes`, and returns the frames.
pub fn read_every_way<D>(
    decoder: &D,
    stream: &[u8],
    read_bytes: usize,
    frame_bytes_max: usize,
) -> Vec<D::Item>
where
    D: Decoder<Error = DecodeError> + Clone,
    D::Item: Debug + PartialEq,
{
    let bound = frame_bytes_max + BUFFER_SLACK_BYTES;
    let whole = read(decoder.clone(), stream, usize::MAX, bound);
    for read_bytes in [1, read_bytes.max(1)] {
        assert_eq!(whole, read(decoder.clone(), stream, read_bytes, bound));
    }
    whole.0
}

fn read<D>(
    mut decoder: D,
    stream: &[u8],
    read_bytes: usize,
    bound: usize,
) -> (Vec<D::Item>, Option<String>)
where
    D: Decoder<Error = DecodeError>,
{
    let mut frames = Vec::new();
    let mut src = BytesMut::new();
    let mut rest = stream;
    loop {
        let ended = rest.is_empty();
        if !ended {
            src.reserve(1);
            let spare_bytes = src.capacity() - src.len();
            let (read, unread) = rest.split_at(rest.len().min(spare_bytes).min(read_bytes));
            src.put_slice(read);
            rest = unread;
        }
        loop {
            let decoded = if ended {
                decoder.decode_eof(&mut src)
            } else {
                decoder.decode(&mut src)
            };
            assert!(
                src.capacity() <= bound,
                "{} of {bound} bytes",
                src.capacity()
            );
            match decoded {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
        if ended {
            return (frames, None);
        }
    }
}

/// What a read buffer may hold beyond the largest frame, as the codecs' documentation says.
const BUFFER_SLACK_BYTES: usize = 16 * 1024;
