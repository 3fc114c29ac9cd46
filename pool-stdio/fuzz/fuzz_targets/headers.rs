//! Any bytes, as `Content-Length` frames.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::HeaderCodec;
use pool_stdio_fuzz::{choices, read_every_way};
use tokio_util::codec::{Decoder, Encoder};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, header_limit, read_bytes], stream)) = choices(input) else {
        return;
    };
    let codec = HeaderCodec::new()
        .frame_bytes_max(limit)
        .header_bytes_max(header_limit);
    for frame in read_every_way(&codec, stream, read_bytes, limit + header_limit) {
        assert!(frame.body.len() <= limit);
        let (mut again, mut wire) = (HeaderCodec::new(), BytesMut::new());
        again
            .encode(frame.clone(), &mut wire)
            .expect("what was read can be written");
        let read = again.decode(&mut wire).expect("and read again");
        assert_eq!(read, Some(frame));
    }
});
