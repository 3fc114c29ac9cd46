//! Any bytes, as length-prefixed frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::{ByteOrder, LengthCodec, PrefixWidth};
use pool_stdio_fuzz::{choices, read_every_way};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, form, read_bytes], stream)) = choices(input) else {
        return;
    };
    let width = [
        PrefixWidth::One,
        PrefixWidth::Two,
        PrefixWidth::Four,
        PrefixWidth::Eight,
    ][form & 3];
    let order = [ByteOrder::Big, ByteOrder::Little][form >> 2 & 1];
    let codec = LengthCodec::new(width, order).frame_bytes_max(limit);
    for frame in read_every_way(&codec, stream, read_bytes, width.bytes() + limit) {
        assert!(frame.len() <= limit);
    }
});
