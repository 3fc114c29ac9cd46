//! Any bytes, as length-prefixed frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::{LengthCodec, LengthPrefix};
use pool_stdio_fuzz::{choices, read_every_way};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, form, read_bytes], stream)) = choices(input) else {
        return;
    };
    let prefixes = [
        (LengthPrefix::U8, 1),
        (LengthPrefix::U16Be, 2),
        (LengthPrefix::U16Le, 2),
        (LengthPrefix::U32Be, 4),
        (LengthPrefix::U32Le, 4),
        (LengthPrefix::U64Be, 8),
        (LengthPrefix::U64Le, 8),
    ];
    let (prefix, prefix_bytes) = prefixes[form % prefixes.len()];
    let codec = LengthCodec::new(prefix).frame_bytes_max(limit);
    for frame in read_every_way(&codec, stream, read_bytes, prefix_bytes + limit) {
        assert!(frame.len() <= limit);
    }
});
