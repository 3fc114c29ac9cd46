//! Any bytes, as lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::LineCodec;
use pool_stdio_fuzz::{choices, read_every_way};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, policies, read_bytes], stream)) = choices(input) else {
        return;
    };
    let mut codec = LineCodec::new().frame_bytes_max(limit);
    if policies & 1 == 1 {
        codec = codec.skip_overlong_lines();
    }
    if policies >> 1 & 1 == 1 {
        codec = codec.deliver_partial_line();
    }
    for line in read_every_way(&codec, stream, read_bytes, limit) {
        assert!(line.bytes.len() <= limit);
        assert!(!line.bytes.contains(&b'\n'));
    }
});
