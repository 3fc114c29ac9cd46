//! The top level of a JSON-RPC message, found without building a tree.
//!
//! One pass over the bytes, no allocation, no recursion: strings are searched for their end, nested
//! values for the bracket that closes them. What is inside a nested value is nobody's business
//! here; who needs the value parses it.
//!
//! # Invariants
//!
//! 1. A message with two ids, two methods or two params is refused: two parsers may disagree on
//!    which of them counts, and params have tokens in them.
//! 2. A key is compared as what it says, not as how it is written: `"\u0069d"` is `"id"`.
//! 3. A span covers exactly the bytes of its value, without blanks around it.
//! 4. No input panics, and no byte is looked at more than a constant number of times.
//! 5. Every place of what is scanned fits into a [`Span`].
//!
//! Every request and every reply comes through here, so three small functions are put where they are
//! called: a fifth of the time of a scan.

use std::ops::Range;

use memchr::memchr2;

/// Where a value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `None` beyond what can be scanned.
    pub(super) fn new(range: &Range<usize>) -> Option<Self> {
        Some(Self {
            start: u32::try_from(range.start).ok()?,
            end: u32::try_from(range.end).ok()?,
        })
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// What stands there, if it is a string, between its quotes.
    pub(super) fn of_text(self, message: &[u8]) -> &[u8] {
        &message[self.start as usize + 1..self.end as usize - 1]
    }

    /// What stands there.
    pub(super) fn of(self, message: &[u8]) -> &[u8] {
        &message[self.range()]
    }
}

/// What the top level of a message has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Whether it says `"jsonrpc": "2.0"`.
    pub(super) has_version: bool,
    /// A string, a number or `null`, whatever was meant by it.
    pub(super) id: Option<Span>,
    /// A string, with its quotes.
    pub(super) method: Option<Span>,
    pub(super) params: Option<Span>,
    pub(super) result: Option<Span>,
    /// Not `null`.
    pub(super) error: Option<Span>,
    /// Whether a key is that of an id, a method or params for who ignores case.
    pub(super) has_lookalike: bool,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    Request,
    Notification,
    Reply,
}

/// Why something is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("4 GiB or more")]
    TooLong,
    #[error("not JSON")]
    NotJson,
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
    #[error("a member that is an id, a method or params but for its case")]
    Lookalike,
    #[error("neither a request nor a reply")]
    Neither,
}

impl Envelope {
    /// Finds the members of a message that is an object.
    pub(super) fn of(message: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        if !is_scanned(message) {
            return Err(Malformed::TooLong);
        }
        let mut members = Members::of(message, 0).ok_or(Malformed::NotAnObject)?;
        if message.starts_with(USUAL) {
            // Most begin like this: what it says need not be found out again.
            found.has_version = true;
            members.is_first = false;
            members.cursor.at = USUAL.len();
            members.cursor.skip_blanks();
            let id = members.cursor.value()?;
            if !is_id(id.of(message)) {
                return Err(Malformed::BadId);
            }
            found.id = Some(id);
        }
        while let Some((key, value)) = members.next()? {
            let text = value.of(message);
            let key = key.of(message);
            match Field::of(key) {
                Some(Field::Id) if found.id.is_some() => return Err(Malformed::TwoIds),
                Some(Field::Id) if !is_id(text) => return Err(Malformed::BadId),
                Some(Field::Id) => found.id = Some(value),
                Some(Field::Method) if text == b"null" => {}
                Some(Field::Method) if text[0] != b'"' => return Err(Malformed::BadMethod),
                Some(Field::Method) if found.method.is_some() => return Err(Malformed::TwoMethods),
                Some(Field::Method) => found.method = Some(value),
                Some(Field::Params) if found.params.is_some() => return Err(Malformed::TwoParams),
                Some(Field::Params) => found.params = Some(value),
                Some(Field::Result) => found.result = Some(value),
                Some(Field::Error) => found.error = (text != b"null").then_some(value),
                Some(Field::Version) => found.has_version = text == b"\"2.0\"",
                None => found.has_lookalike |= is_lookalike(key),
            }
        }
        members.finish()?;
        Ok(found)
    }

    /// What the message is for.
    pub(super) const fn kind(&self) -> Result<MessageKind, Malformed> {
        match (&self.method, &self.id) {
            (Some(_), Some(_)) => Ok(MessageKind::Request),
            (Some(_), None) => Ok(MessageKind::Notification),
            // Of one that lacks a result and an error its call shall know.
            (None, Some(_)) => Ok(MessageKind::Reply),
            (None, None) => Err(Malformed::Neither),
        }
    }
}

/// The members of an object, one after the other.
#[derive(Debug)]
pub(super) struct Members<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// The members of the object that begins here, blanks before it aside.
    pub(super) fn of(bytes: &'a [u8], at: usize) -> Option<Self> {
        let mut cursor = Cursor { bytes, at };
        cursor.skip_blanks();
        cursor.eat(b'{').then_some(Self {
            cursor,
            is_first: true,
        })
    }

    /// The next key, without its quotes, and its value; `None` once the object is closed.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<(Span, Span)>, Malformed> {
        let cursor = &mut self.cursor;
        if cursor.closes(b'}', &mut self.is_first)? {
            return Ok(None);
        }
        let mut key = cursor.string()?;
        key.start += 1;
        key.end -= 1;
        cursor.skip_blanks();
        if !cursor.eat(b':') {
            return Err(Malformed::NotJson);
        }
        cursor.skip_blanks();
        let value = cursor.value()?;
        Ok(Some((key, value)))
    }

    /// After the last one: nothing may follow the object.
    fn finish(mut self) -> Result<(), Malformed> {
        self.cursor.finish()
    }
}

/// The elements of an array that is the whole message.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl<'a> Elements<'a> {
    /// The elements, if the message begins like an array.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor { bytes, at: 0 };
        cursor.skip_blanks();
        (is_scanned(bytes) && cursor.eat(b'[')).then_some(Self {
            cursor,
            is_first: true,
        })
    }

    /// The next element; `None` once the array is closed and nothing follows it.
    pub(super) fn next(&mut self) -> Result<Option<Span>, Malformed> {
        if self.cursor.closes(b']', &mut self.is_first)? {
            self.cursor.finish()?;
            return Ok(None);
        }
        self.cursor.value().map(Some)
    }
}

/// A position in JSON text.
#[derive(Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn span(&self, start: usize) -> Span {
        Span {
            start: place(start),
            end: place(self.at),
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Passes the comma before the next entry, or the bracket that closes the list.
    fn closes(&mut self, bracket: u8, is_first: &mut bool) -> Result<bool, Malformed> {
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

    fn finish(&mut self) -> Result<(), Malformed> {
        self.skip_blanks();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Malformed::NotJson)
        }
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Span, Malformed> {
        match self.bytes.get(self.at) {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            _ => self.scalar(),
        }
    }

    /// A string, with its quotes.
    #[inline(always)]
    fn string(&mut self) -> Result<Span, Malformed> {
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
            // Whatever is escaped ends nothing.
            self.at += 1;
        }
    }

    /// An object or an array, up to the bracket that closes it.
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
                b'{' | b'[' => depth += 1,
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

/// Whether a span can tell every place of it.
fn is_scanned(message: &[u8]) -> bool {
    u32::try_from(message.len()).is_ok()
}

/// A place in what is scanned.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The members that have a meaning at the top level.
#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    Method,
    Params,
    Result,
    Error,
    Version,
}

impl Field {
    fn of(key: &[u8]) -> Option<Self> {
        match key {
            b"jsonrpc" => Some(Self::Version),
            b"id" => Some(Self::Id),
            b"result" => Some(Self::Result),
            b"method" => Some(Self::Method),
            b"params" => Some(Self::Params),
            b"error" => Some(Self::Error),
            _ if !key.contains(&b'\\') => None,
            // It may say one of these all the same.
            _ => FIELDS
                .iter()
                .find_map(|name| says(key, name).then(|| Self::of(name))?),
        }
    }
}

/// Whether a string, given without its quotes, says this ASCII text.
pub(super) fn says(raw: &[u8], text: &[u8]) -> bool {
    if raw == text {
        return true;
    }
    // A string with an escape is longer than what it says.
    if raw.len() <= text.len() || !raw.contains(&b'\\') {
        return false;
    }
    spells(raw, text, |letter| letter)
}

/// The same for who ignores case, as Go's parser does.
pub(super) fn says_in_any_case(raw: &[u8], text: &[u8]) -> bool {
    raw.len() >= text.len() && spells(raw, text, folded)
}

fn is_lookalike(key: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"id", b"method", b"params"];
    names.iter().any(|name| says_in_any_case(key, name))
}

fn spells(raw: &[u8], text: &[u8], fold: fn(u32) -> u32) -> bool {
    let mut rest = raw;
    for expected in text {
        match first_char(rest) {
            Some((said, after)) if fold(said) == fold(u32::from(*expected)) => rest = after,
            Some(_) | None => return false,
        }
    }
    rest.is_empty()
}

/// The small letter of one that is ASCII.
const fn folded(letter: u32) -> u32 {
    match letter {
        0x41..=0x5a => letter + 0x20,
        _ => letter,
    }
}

/// The first character of a string, as far as it is ASCII or written as `\uXXXX`.
fn first_char(raw: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = raw.split_first()?;
    if *first != b'\\' {
        return Some((u32::from(*first), rest));
    }
    let (escaped, rest) = rest.split_first()?;
    if *escaped == b'/' {
        return Some((u32::from(b'/'), rest));
    }
    if *escaped != b'u' {
        // None of the other escapes stands for what a name here has: letters, `/`, `$` and `_`.
        return Some((0, rest));
    }
    let (digits, rest) = rest.split_at_checked(4)?;
    let code = digits.iter().try_fold(0, |code, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|value| code * 16 + value)
    })?;
    Some((code, rest))
}

/// Whether a value may be an id.
fn is_id(text: &[u8]) -> bool {
    text == b"null" || matches!(text[0], b'"' | b'-' | b'0'..=b'9')
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

/// The number that is written here as we write our ids, and in no other way.
pub(super) fn own_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    text.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + u64::from(digit))
    })
}

/// How most messages begin.
const USUAL: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const FIELDS: [&[u8]; 6] = [b"jsonrpc", b"id", b"result", b"method", b"params", b"error"];

/// The bytes that matter while the end of a nested value is looked for.
const STRUCTURAL: [bool; 256] = table(b"\"{}[]");
/// The bytes that matter in a string.
const IN_STRING: [bool; 256] = table(b"\"\\");
/// Those that follow a number or a name.
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

/// Up to here looking costs less than searching. Keys are no longer.
const SHORT_BYTES: usize = 16;

#[cfg(test)]
mod tests;
