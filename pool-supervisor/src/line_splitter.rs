//! Cuts a stream into lines and never holds more than one line of the longest kind.

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    line: Vec<u8>,
    line_bytes_max: usize,
    /// The present line was too long. The rest of it is skipped.
    is_skipping: bool,
}

/// What a stream has at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A line without its end.
    Line(Vec<u8>),
    /// A line that is too long. It is told when that is seen, and its rest is skipped.
    TooLong,
}

impl LineSplitter {
    pub(crate) const fn new(line_bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            line_bytes_max,
            is_skipping: false,
        }
    }

    /// Takes the next bytes, and hands on what is complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut found: impl FnMut(Piece)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end], &mut found);
            bytes = &bytes[end + 1..];
            if !std::mem::take(&mut self.is_skipping) {
                let mut line = std::mem::take(&mut self.line);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                found(Piece::Line(line));
            }
        }
        self.add(bytes, &mut found);
    }

    fn add(&mut self, bytes: &[u8], found: &mut impl FnMut(Piece)) {
        if self.is_skipping {
            return;
        }
        if self.line.len() + bytes.len() > self.line_bytes_max {
            self.is_skipping = true;
            self.line = Vec::new();
            found(Piece::TooLong);
            return;
        }
        self.line.extend_from_slice(bytes);
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.line.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(splitter: &mut LineSplitter, bytes: &[u8]) -> Vec<Piece> {
        let mut found = Vec::new();
        splitter.push(bytes, |piece| found.push(piece));
        found
    }

    fn line(text: &str) -> Piece {
        Piece::Line(text.into())
    }

    #[test]
    fn a_line_ends_where_its_end_comes_however_it_is_cut() {
        let mut splitter = LineSplitter::new(10);
        assert_eq!(pieces(&mut splitter, b"on"), []);
        assert_eq!(pieces(&mut splitter, b"e\r\n\ntw"), [line("one"), line("")]);
        assert_eq!(pieces(&mut splitter, b"o\n"), [line("two")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_at_once_and_not_kept() {
        let mut splitter = LineSplitter::new(10);
        assert_eq!(pieces(&mut splitter, b"12345678901"), [Piece::TooLong]);
        for _ in 0..1000 {
            assert_eq!(pieces(&mut splitter, &[b'x'; 1000]), []);
            assert_eq!(splitter.held_bytes(), 0);
        }
        let next = pieces(&mut splitter, b"x\n1234567890\n");
        assert_eq!(next, [line("1234567890")], "the longest that is allowed");
    }

    proptest! {
        #[test]
        fn the_cuts_between_reads_change_nothing(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a')], 0..60),
            cut in 1_usize..7,
        ) {
            let mut whole = LineSplitter::new(5);
            let mut cuts = LineSplitter::new(5);
            let expected = pieces(&mut whole, &bytes);
            let mut found = Vec::new();
            for part in bytes.chunks(cut) {
                cuts.push(part, |piece| found.push(piece));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
