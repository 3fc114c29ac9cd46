//! What can be seen without knowing Rust: how long a file is, and whether its examples show something.

use super::allowed::AllowedLength;
use super::source::SourceFile;

const LINES_MAX: usize = 600;

pub(super) fn check_lengths(files: &[SourceFile], allowed: &[AllowedLength]) -> Vec<String> {
    let is_long = |file: &&SourceFile| file.text.lines().count() > LINES_MAX;
    let is_allowed = |file: &&SourceFile| allowed.iter().any(|allowed| allowed.path == file.path);
    let long = files
        .iter()
        .filter(is_long)
        .filter(|file| !is_allowed(file));
    let mut broken: Vec<_> = long
        .map(|file| {
            let lines = file.text.lines().count();
            format!("{} has {lines} lines, more than {LINES_MAX}", file.path)
        })
        .collect();
    for AllowedLength { path, reason } in allowed {
        if !files.iter().filter(is_long).any(|file| file.path == *path) {
            broken.push(format!(
                "an allowance that nothing needs: {path} may be long ({reason})"
            ));
        }
    }
    broken
}

/// Finds sections of examples that have no code.
pub(super) fn check_examples(files: &[SourceFile]) -> Vec<String> {
    let empty = files.iter().flat_map(|file| {
        let lines = empty_sections(&file.text);
        lines.into_iter().map(move |line| (&file.path, line))
    });
    empty
        .map(|(path, line)| format!("{path}:{line}: an example without code"))
        .collect()
}

/// The numbers of the lines that open such a section.
fn empty_sections(text: &str) -> Vec<usize> {
    let mut empty = Vec::new();
    let mut open = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"));
        match doc.map(str::trim) {
            Some(doc) if doc.starts_with("```") => open = None,
            Some(doc) if doc.starts_with('#') => {
                empty.extend(open.take());
                open = matches!(doc.trim_start_matches('#').trim(), "Example" | "Examples")
                    .then_some(at + 1);
            }
            // An attribute can stand between two lines of a doc comment, or include an example.
            None if line.starts_with("#[doc = include_str!") => open = None,
            None if !line.starts_with("#[") => empty.extend(open.take()),
            _ => {}
        }
    }
    empty.extend(open);
    empty
}
