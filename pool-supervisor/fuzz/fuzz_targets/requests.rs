//! Any bytes, as the input of the program: however they are cut, the same lines come out, none is longer
//! than allowed, and each is a request or a typed error.
//!
//! In `pool-supervisor`: `cargo +nightly fuzz run requests -- -dict=fuzz/requests.dict`. The unit tests of
//! `protocol/envelope` try the same properties with a stable compiler.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[expect(dead_code, unused_imports, reason = "only the decoder is looked at")]
#[path = "../../src/protocol/mod.rs"]
mod protocol;

#[path = "../../src/line_splitter.rs"]
mod line_splitter;

use line_splitter::{LineSplitter, Piece};
use protocol::{FaultKind, Incoming, Malformed, decode};

/// So short that lines of every length are tried.
const LINE_BYTES_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let whole = pieces(stream, usize::MAX);
    assert_eq!(whole, pieces(stream, usize::from(*cut).max(1)));
    for piece in whole {
        if let Piece::Line(line) = piece {
            assert!(line.len() <= LINE_BYTES_MAX && !line.contains(&b'\n'));
            check(&line);
        }
    }
    // Also without a line end, and beyond the limit.
    check(stream);
});

fn pieces(stream: &[u8], cut: usize) -> Vec<Piece> {
    let mut splitter = LineSplitter::new(LINE_BYTES_MAX);
    let mut found = Vec::new();
    for part in stream.chunks(cut) {
        splitter.push(part, |piece| found.push(piece));
    }
    found
}

fn check(line: &[u8]) {
    match decode(line) {
        Ok(Incoming { id, .. }) => {
            let value: Value = serde_json::from_slice(line).expect("a request is JSON");
            assert_eq!(value["jsonrpc"], "2.0");
            assert_eq!(id.is_some(), value.get("id").is_some());
        }
        Err(Malformed { fault, .. }) => {
            let kinds = [FaultKind::NotJson, FaultKind::InvalidRequest];
            assert!(kinds.contains(&fault.data.kind) && !fault.message.is_empty());
        }
    }
}
