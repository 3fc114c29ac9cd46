//! The tests that the docs name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of all functions in the files under a directory.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    let entries = fs::read_dir(directory).expect("the directory is part of the workspace");
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths {
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("Rust source is UTF-8");
            let names = text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
            found.extend(names);
        }
    }
}

/// The names in a document that are long enough for a sentence of behaviour. A field, a setting or a
/// metric has fewer words.
fn named_tests(document: &str) -> Vec<&str> {
    let in_backticks = document.split('`').skip(1).step_by(2);
    in_backticks
        .filter(|name| name.matches('_').count() >= 3)
        .filter(|name| {
            name.chars()
                .all(|char| char == '_' || char.is_ascii_alphanumeric())
        })
        .collect()
}

#[test]
fn every_test_that_the_docs_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut exist = BTreeSet::new();
    for directory in [
        "tests/tests",
        "pool-core/src",
        "pool-stdio/src",
        "pool-stdio/tests",
        "pool-supervisor/src",
        "pool-supervisor/tests",
        "redis/tests",
    ] {
        functions(&root.join(directory), &mut exist);
    }
    for (document, count_min) in [("proof.md", 90), ("invariants.md", 25)] {
        let text = fs::read_to_string(root.join("docs").join(document));
        let text = text.expect("the document is there");
        let named = named_tests(&text);
        let missing: Vec<_> = named
            .iter()
            .filter(|name| !exist.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{document}: no such test: {missing:#?}");
        let count = named.len();
        assert!(count >= count_min, "{document} names {count} tests");
    }
}
