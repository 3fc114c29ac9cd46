//! Any bytes, as replies up to a prompt, up to a last line, and behind a line with their length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pool_stdio::codec::{LengthLineCodec, PromptCodec, TerminatorCodec};
use pool_stdio_fuzz::{choices, read_every_way};

fuzz_target!(|input: &[u8]| {
    let Some(([limit, kind, read_bytes], stream)) = choices(input) else {
        return;
    };
    match kind % 4 {
        0 => {
            let codec = PromptCodec::new("\n> ").frame_bytes_max(limit);
            for reply in read_every_way(&codec, stream, read_bytes, limit + 3) {
                assert!(reply.len() <= limit);
            }
        }
        1 => {
            let codec = TerminatorCodec::new(<[u8]>::is_empty).frame_bytes_max(limit);
            for reply in read_every_way(&codec, stream, read_bytes, limit) {
                assert!(reply.body.len() < limit && reply.last_line.is_empty());
            }
        }
        kind => {
            let codec = LengthLineCodec::new(|line| line.first().map(|byte| u64::from(*byte)));
            let codec = codec.frame_bytes_max(limit);
            let codec = if kind == 2 {
                codec
            } else {
                codec.newline_after_body()
            };
            for frame in read_every_way(&codec, stream, read_bytes, 2 * limit + 3) {
                assert!(frame.line.len() <= limit);
                assert!(frame.body.is_none_or(|body| body.len() <= limit));
            }
        }
    }
});
