//! Reads JSON text value by value, and returns where each value is.

use std::ops::Range;

use memchr::memchr2;

/// Where a value stands in its message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `None` beyond 4 GiB, which no message may have.
    pub(crate) fn new(range: &Range<usize>) -> Option<Self> {
        Some(Self {
            start: u32::try_from(range.start).ok()?,
            end: u32::try_from(range.end).ok()?,
        })
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The span of a string without its quotes.
    pub(crate) const fn unquoted(self) -> Self {
        Self {
            start: self.start + 1,
            end: self.end - 1,
        }
    }

    /// The bytes that it covers.
    pub(crate) fn of(self, message: &[u8]) -> &[u8] {
        &message[self.range()]
    }
}

/// Why text is not a JSON-RPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("4 GiB or more")]
    TooLong,
    #[error("not JSON")]
    NotJson,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("not an object")]
    NotAnObject,
    #[error("two ids")]
    TwoIds,
    #[error("two methods")]
    TwoMethods,
    #[error("two params")]
    TwoParams,
    #[error("an id that is no string, number or null")]
    BadId,
    #[error("a method that is no string")]
    BadMethod,
    #[error("a member that is an id, a method or params in another case")]
    Lookalike,
    #[error("neither a request nor a reply")]
    Neither,
}

/// A position in JSON text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How deep the values so far are nested.
    deepest: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            deepest: 0,
        }
    }

    pub(super) const fn deepest(&self) -> usize {
        self.deepest
    }

    fn span(&self, start: usize) -> Span {
        Span {
            start: position(start),
            end: position(self.at),
        }
    }

    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Passes the comma before the next entry, or the bracket that closes the list. Returns whether
    /// the list is closed.
    pub(super) fn closes(&mut self, bracket: u8, is_first: &mut bool) -> Result<bool, Malformed> {
        self.skip_blanks();
        if self.eat(bracket) {
            return Ok(true);
        }
        if !std::mem::take(is_first) {
            if !self.eat(b',') {
                return Err(Malformed::NotJson);
            }
            self.skip_blanks();
        }
        Ok(false)
    }

    /// Fails if anything but blanks follows.
    pub(super) fn finish(&mut self) -> Result<(), Malformed> {
        self.skip_blanks();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Malformed::NotJson)
        }
    }

    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Span, Malformed> {
        match self.bytes.get(self.at) {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            _ => self.scalar(),
        }
    }

    /// A string, including its quotes.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Span, Malformed> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(Malformed::NotJson);
        }
        self.rest_of_string()?;
        Ok(self.span(start))
    }

    fn rest_of_string(&mut self) -> Result<(), Malformed> {
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Malformed::NotJson)?;
            let near = rest.len().min(SHORT_BYTES);
            let in_near = rest[..near]
                .iter()
                .position(|byte| IN_STRING[usize::from(*byte)]);
            let found = match in_near {
                Some(found) => found,
                None => near + memchr2(b'"', b'\\', &rest[near..]).ok_or(Malformed::NotJson)?,
            };
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(());
            }
            // The escaped character does not end the string.
            self.at += 1;
        }
    }

    /// An object or an array, up to its closing bracket.
    fn nested(&mut self) -> Result<Span, Malformed> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Malformed::NotJson)?;
            let found = rest.iter().position(|byte| STRUCTURAL[usize::from(*byte)]);
            let found = found.ok_or(Malformed::NotJson)?;
            self.at += found + 1;
            match rest[found] {
                b'"' => self.rest_of_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.deepest = self.deepest.max(depth);
                }
                _ => depth -= 1,
            }
            if depth == 0 {
                return Ok(self.span(start));
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<Span, Malformed> {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| ENDS_SCALAR[usize::from(*byte)];
        let text = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
        if !is_number(text) && !matches!(text, b"true" | b"false" | b"null") {
            return Err(Malformed::NotJson);
        }
        let start = self.at;
        self.at += text.len();
        Ok(self.span(start))
    }
}

/// Whether every position in it fits into a [`Span`].
pub(super) fn is_scanned(message: &[u8]) -> bool {
    u32::try_from(message.len()).is_ok()
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', unsigned @ ..] | unsigned => unsigned,
        };
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// The bytes that matter while searching for the end of a nested value.
const STRUCTURAL: [bool; 256] = table(b"\"{}[]");
/// The bytes that matter inside a string.
const IN_STRING: [bool; 256] = table(b"\"\\");
/// The bytes that can follow a number or a name.
const ENDS_SCALAR: [bool; 256] = table(b",]} \t\n\r");

const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// How deep a client's message may be nested. Rust's usual parser reads no more, others a few thousand
/// levels, and some overflow their stack.
pub(crate) const DEPTH_MAX: usize = 127;
/// Up to this length a loop is faster than `memchr2`. Most keys are shorter.
const SHORT_BYTES: usize = 16;
