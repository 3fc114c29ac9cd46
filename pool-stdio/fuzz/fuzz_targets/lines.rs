//! Any bytes, as lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::{LineCodec, PartialLine};
use pool_stdio_fuzz::{choices, read_every_way};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, policies, read_bytes], stream)) = choices(input) else {
        return;
    };
    let partial = [PartialLine::Deliver, PartialLine::Refuse][policies >> 1 & 1];
    let mut codec = LineCodec::new().frame_bytes_max(limit).partial_line(partial);
    if policies & 1 == 1 {
        codec = codec.skip_overlong_lines();
    }
    for line in read_every_way(&codec, stream, read_bytes, limit) {
        assert!(line.bytes.len() <= limit);
        assert!(!line.bytes.contains(&b'\n'));
    }
});
