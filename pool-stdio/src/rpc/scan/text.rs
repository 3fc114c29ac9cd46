//! Compares JSON strings by meaning, and reads numbers that are written as this crate writes them.

use bytes::Bytes;

/// Whether a string, given without its quotes, means this ASCII text.
pub(crate) fn says(raw: &[u8], text: &[u8]) -> bool {
    if raw == text {
        return true;
    }
    // A string with an escape is longer than its meaning.
    if raw.len() <= text.len() || !raw.contains(&b'\\') {
        return false;
    }
    spells(raw, text, |letter| letter)
}

/// The same, but ignoring case as lenient parsers do: Go's takes `ſ` for an s and the Kelvin sign for a
/// k, and Java's takes dotted and dotless letters for an i.
pub(crate) fn says_in_any_case(raw: &[u8], text: &[u8]) -> bool {
    raw.len() >= text.len() && spells(raw, text, folded)
}

pub(super) fn is_lookalike(key: &[u8]) -> bool {
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

/// The ASCII letter in lower case that a lenient parser takes it for.
const fn folded(letter: u32) -> u32 {
    match letter {
        0x41..=0x5a => letter + 0x20,
        LONG_S => b's' as u32,
        KELVIN => b'k' as u32,
        DOTTED_I | DOTLESS_I => b'i' as u32,
        _ => letter,
    }
}

/// The first character of a string, and the rest. One that is no ASCII letter to anybody, and is not
/// written as `\uXXXX`, may be taken apart.
fn first_char(raw: &[u8]) -> Option<(u32, &[u8])> {
    match raw {
        [0xc5, 0xbf, rest @ ..] => return Some((LONG_S, rest)),
        [0xe2, 0x84, 0xaa, rest @ ..] => return Some((KELVIN, rest)),
        [0xc4, 0xb0, rest @ ..] => return Some((DOTTED_I, rest)),
        [0xc4, 0xb1, rest @ ..] => return Some((DOTLESS_I, rest)),
        _ => {}
    }
    let (first, rest) = raw.split_first()?;
    if *first != b'\\' {
        return Some((u32::from(*first), rest));
    }
    let (escaped, rest) = rest.split_first()?;
    if *escaped == b'/' {
        return Some((u32::from(b'/'), rest));
    }
    if *escaped != b'u' {
        // The names compared here have letters, `/`, `$` and `_`: no other escape means one of these.
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

/// An id in one spelling, so that equal ids have equal bytes.
pub(crate) fn canonical_id(raw: &[u8]) -> Bytes {
    let decoded = raw
        .contains(&b'\\')
        .then(|| serde_json::from_slice::<String>(raw).ok())
        .flatten();
    match decoded.and_then(|text| serde_json::to_vec(&text).ok()) {
        Some(spelled) => spelled.into(),
        None => Bytes::copy_from_slice(raw),
    }
}

/// The number, if it is spelled exactly as we spell our ids.
pub(crate) fn own_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    text.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + u64::from(digit))
    })
}

/// `ſ`
const LONG_S: u32 = 0x17f;
/// The sign of the unit, which looks like a K.
const KELVIN: u32 = 0x212a;
/// `İ`
const DOTTED_I: u32 = 0x130;
/// `ı`
const DOTLESS_I: u32 = 0x131;
