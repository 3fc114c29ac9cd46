//! The tests that the docs name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of all functions under a directory that are tests, or made by a macro into one.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    let entries = fs::read_dir(directory).expect("it is part of the workspace");
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths {
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("it is text");
            let names = text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_test_that_the_table_of_proofs_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut exist = BTreeSet::new();
    for directory in ["tests/tests", "pool-stdio/src", "pool-stdio/tests"] {
        functions(&root.join(directory), &mut exist);
    }
    let table = fs::read_to_string(root.join("docs/proof.md")).expect("it is there");
    // A sentence of behaviour has many words; a field or a setting has few.
    let named = table.split('`').skip(1).step_by(2);
    let named: Vec<&str> = named
        .filter(|name| name.matches('_').count() >= 3)
        .collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !exist.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
    assert!(named.len() > 90, "{} tests are named", named.len());
}
