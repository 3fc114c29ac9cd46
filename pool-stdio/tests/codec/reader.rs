//! Feeds a decoder as `FramedRead` would, and keeps account of its buffer.

use std::fmt::Debug;
use std::iter;

use bytes::{BufMut, BytesMut};
use pool_stdio::codec::DecodeError;
use tokio_util::codec::Decoder;

/// All that a stream decoded to.
#[derive(Debug)]
pub(crate) struct Reading<I> {
    pub(crate) frames: Vec<I>,
    pub(crate) error: Option<DecodeError>,
    pub(crate) buffer_bytes_max: usize,
}

impl<I> Reading<I> {
    pub(crate) fn error_text(&self) -> Option<String> {
        self.error.as_ref().map(ToString::to_string)
    }
}

/// Reads `stream` in pieces of `read_bytes`, around again when they are used up, until its end or
/// the first error. Frames stay alive as long as the reading, which keeps the buffer shared.
pub(crate) fn read_in_pieces<D>(
    decoder: &mut D,
    stream: &[u8],
    read_bytes: &[usize],
) -> Reading<D::Item>
where
    D: Decoder<Error = DecodeError>,
{
    let mut reading = Reading {
        frames: Vec::new(),
        error: None,
        buffer_bytes_max: 0,
    };
    let mut src = BytesMut::new();
    let mut rest = stream;
    for piece_bytes in read_bytes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        src.reserve(1);
        let spare_bytes = src.capacity() - src.len();
        let (read, unread) = rest.split_at(rest.len().min(spare_bytes).min(*piece_bytes));
        src.put_slice(read);
        rest = unread;
        collect(&mut reading, &mut src, |src| decoder.decode(src));
        if reading.error.is_some() {
            assert_stays_failed(decoder, &mut src);
            return reading;
        }
    }
    collect(&mut reading, &mut src, |src| decoder.decode_eof(src));
    reading
}

/// Reads `stream` at once, byte by byte, and cut in two at each place, and returns the one reading
/// that all of these agree on.
pub(crate) fn read_every_way<D>(decoder: &D, stream: &[u8]) -> Reading<D::Item>
where
    D: Decoder<Error = DecodeError> + Clone,
    D::Item: Debug + PartialEq,
{
    let whole = read_in_pieces(&mut decoder.clone(), stream, &[usize::MAX]);
    let cuts = (1..stream.len()).map(|cut| vec![cut, usize::MAX]);
    for read_bytes in cuts.chain(iter::once(vec![1])) {
        let cut = read_in_pieces(&mut decoder.clone(), stream, &read_bytes);
        assert_eq!(
            whole.frames,
            cut.frames,
            "{:?} read by {read_bytes:?}",
            stream.escape_ascii()
        );
        assert_eq!(
            whole.error_text(),
            cut.error_text(),
            "read by {read_bytes:?}"
        );
    }
    whole
}

fn collect<I>(
    reading: &mut Reading<I>,
    src: &mut BytesMut,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<I>, DecodeError>,
) {
    loop {
        reading.buffer_bytes_max = reading.buffer_bytes_max.max(src.capacity());
        match decode(src) {
            Ok(Some(frame)) => reading.frames.push(frame),
            Ok(None) => break,
            Err(error) => {
                reading.error = Some(error);
                break;
            }
        }
    }
    reading.buffer_bytes_max = reading.buffer_bytes_max.max(src.capacity());
}

/// An error is final, whatever comes after it, and what comes after it is not kept.
fn assert_stays_failed<D: Decoder<Error = DecodeError>>(decoder: &mut D, src: &mut BytesMut) {
    assert!(src.is_empty());
    src.put_slice(b"ok\nContent-Length: 0\r\n\r\n");
    assert!(matches!(decoder.decode(src), Err(DecodeError::OutOfStep)));
    assert!(src.is_empty());
    src.put_slice(b"ok");
    assert!(matches!(decoder.decode_eof(src), Ok(None)));
    assert!(src.is_empty());
}

/// What a read buffer may hold beyond the largest frame, as the codecs' documentation says.
pub(crate) const BUFFER_SLACK_BYTES: usize = 16 * 1024;
