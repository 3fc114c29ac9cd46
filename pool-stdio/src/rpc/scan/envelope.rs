//! The members of a message, and the elements of a batch.

use super::cursor::{Cursor, Malformed, Span, is_scanned};
use super::text::{is_lookalike, says};

/// The members at the top level of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Whether it says `"jsonrpc": "2.0"`.
    pub(crate) has_version: bool,
    /// A string, a number or `null`.
    pub(crate) id: Option<Span>,
    /// A string, including its quotes.
    pub(crate) method: Option<Span>,
    pub(crate) params: Option<Span>,
    pub(crate) result: Option<Span>,
    /// Present unless it is `null`.
    pub(crate) error: Option<Span>,
    /// Whether a parser that ignores case would take another key for an id, a method or params.
    pub(crate) has_lookalike: bool,
    /// How deep the values of its members are nested.
    pub(crate) depth: usize,
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Request,
    Notification,
    Reply,
}

impl Envelope {
    /// Finds the members of a message that is an object.
    pub(crate) fn of(message: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        if !is_scanned(message) {
            return Err(Malformed::TooLong);
        }
        let mut members = Members::of(message, 0).ok_or(Malformed::NotAnObject)?;
        if message.starts_with(USUAL) {
            // Most messages begin like this, so the version and the key of the id are not scanned.
            found.has_version = true;
            members.is_first = false;
            members.cursor = Cursor::new(message, USUAL.len());
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
        found.depth = members.finish()?;
        Ok(found)
    }

    /// What kind of message it is.
    pub(crate) const fn kind(&self) -> Result<MessageKind, Malformed> {
        match (&self.method, &self.id) {
            (Some(_), Some(_)) => Ok(MessageKind::Request),
            (Some(_), None) => Ok(MessageKind::Notification),
            // A reply without a result and without an error still ends its call.
            (None, Some(_)) => Ok(MessageKind::Reply),
            (None, None) => Err(Malformed::Neither),
        }
    }
}

/// The members of an object, one after the other.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// The members of the object that begins at `at`, after optional blanks.
    pub(crate) fn of(bytes: &'a [u8], at: usize) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, at);
        cursor.skip_blanks();
        cursor.eat(b'{').then_some(Self {
            cursor,
            is_first: true,
        })
    }

    /// The next key, without its quotes, and its value; `None` at the end of the object.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(Span, Span)>, Malformed> {
        let cursor = &mut self.cursor;
        if cursor.closes(b'}', &mut self.is_first)? {
            return Ok(None);
        }
        let key = cursor.string()?.unquoted();
        cursor.skip_blanks();
        if !cursor.eat(b':') {
            return Err(Malformed::NotJson);
        }
        cursor.skip_blanks();
        let value = cursor.value()?;
        Ok(Some((key, value)))
    }

    /// Fails if anything but blanks follows the object. Returns how deep its values are nested.
    fn finish(mut self) -> Result<usize, Malformed> {
        self.cursor.finish()?;
        Ok(self.cursor.deepest())
    }
}

/// The elements of an array that is the whole message.
#[derive(Debug)]
pub(crate) struct Elements<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl<'a> Elements<'a> {
    /// The elements, if the message begins as an array does.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, 0);
        cursor.skip_blanks();
        (is_scanned(bytes) && cursor.eat(b'[')).then_some(Self {
            cursor,
            is_first: true,
        })
    }

    /// The next element; `None` at the end of the array, if nothing follows it.
    pub(crate) fn next(&mut self) -> Result<Option<Span>, Malformed> {
        if self.cursor.closes(b']', &mut self.is_first)? {
            self.cursor.finish()?;
            return Ok(None);
        }
        self.cursor.value().map(Some)
    }
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
            // With an escape in it, it can still be one of these names.
            _ => FIELDS
                .iter()
                .find_map(|name| says(key, name).then(|| Self::of(name))?),
        }
    }
}

/// Whether a value may be an id.
fn is_id(text: &[u8]) -> bool {
    text == b"null" || matches!(text[0], b'"' | b'-' | b'0'..=b'9')
}

/// The beginning of most messages.
const USUAL: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const FIELDS: [&[u8]; 6] = [b"jsonrpc", b"id", b"result", b"method", b"params", b"error"];
