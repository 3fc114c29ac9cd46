//! Code without what only looks like code: comments, strings and blocks of tests.

/// The same text with a blank for each byte of a comment or a literal; lines stay lines.
pub(super) fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        }
    }
    // A literal is blanked as a whole, so no character was cut.
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + find(rest, b"\n").unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + find(rest, b"*/").map_or(rest.len(), |end| end + 2);
    }
    let before = bytes[..at].strip_suffix(b"b").unwrap_or(&bytes[..at]);
    let follows_word = before.last().is_some_and(|&byte| is_word(byte));
    if rest.starts_with(b"\"") {
        return at + quoted_end(rest);
    }
    if !follows_word && rest[0] == b'r' {
        let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let begin = hashes + 2;
            return at
                + find(&rest[begin..], &close).map_or(rest.len(), |end| begin + end + close.len());
        }
    }
    match rest {
        [b'\'', b'\\', _, tail @ ..] => at + 3 + find(tail, b"'").map_or(tail.len(), |end| end + 1),
        [b'\'', _, b'\'', ..] => at + 3,
        _ => at,
    }
}

/// The length of the string that begins with a quote.
fn quoted_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Whether a name can contain this byte.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Without inline modules that are compiled for tests alone.
pub(super) fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, body)) = next_test_module(rest) {
        kept.push_str(before);
        rest = after_block(body);
    }
    kept.push_str(rest);
    kept
}

/// What stands before the next inline module of tests, and what follows its opening brace.
fn next_test_module(code: &str) -> Option<(&str, &str)> {
    code.match_indices("mod ").find_map(|(at, _)| {
        let (name, _) = code[at + 4..].split_once('{')?;
        let is_inline = name.trim().bytes().all(is_word);
        let is_test = attributes_before(&code[..at]).is_some_and(is_test_attribute);
        (is_inline && is_test).then(|| (&code[..at], &code[at + 4 + name.len() + 1..]))
    })
}

/// The attributes directly before an item whose visibility may stand between.
fn attributes_before(before: &str) -> Option<&str> {
    let begin = before.rfind([';', '}', '{']).map_or(0, |end| end + 1);
    let attributes = &before[begin..];
    attributes.contains("#[").then_some(attributes)
}

/// Models that loom runs are tests as well.
fn is_test_attribute(attributes: &str) -> bool {
    let asserted = attributes.replace("not(test)", "").replace("not(loom)", "");
    asserted.contains("cfg(") && (asserted.contains("test") || asserted.contains("loom"))
}

/// What follows the brace that closes the block we are in.
fn after_block(body: &str) -> &str {
    let mut depth = 1;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &body[at + 1..];
        }
    }
    ""
}

/// The modules in files of their own that this file declares for tests alone.
pub(super) fn test_modules(code: &str) -> Vec<&str> {
    let declared = code.match_indices("mod ").filter_map(|(at, _)| {
        let (name, _) = code[at + 4..].split_once(';')?;
        let is_name = !name.is_empty() && name.bytes().all(is_word);
        (is_name && attributes_before(&code[..at]).is_some_and(is_test_attribute)).then_some(name)
    });
    declared.collect()
}
