//! Which key was meant by one that does not exist.

/// The known key that is nearest to the unknown one which the message of the parser names.
pub(super) fn nearest_key(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unknown field ")?;
    // What is quoted: first the unknown key, then all known ones.
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let distance = |known: &&str| strsim::damerau_levenshtein(unknown, known);
    let nearest = quoted.min_by_key(distance)?;
    // Farther than half of it, it is another word.
    (distance(&nearest) * 2 <= unknown.len().max(nearest.len())).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_key_is_recognized_and_another_word_is_not() {
        let message =
            |key: &str| format!("unknown field `{key}`, expected one of `listen`, `http`");
        assert_eq!(nearest_key(&message("lisen")), Some("listen"));
        assert_eq!(nearest_key(&message("htpp")), Some("http"));
        assert_eq!(nearest_key(&message("color")), None);
        let two = "unknown field `formt`, expected `format`";
        assert_eq!(nearest_key(two), Some("format"));
        assert_eq!(nearest_key("invalid type: `5`"), None);
    }
}
