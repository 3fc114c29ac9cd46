//! What users of a library can name: its front door, item by item.
//!
//! Text is enough for that, since the compiler warns of a `pub` that cannot be reached. Methods of
//! public traits, fields and variants are not counted: whoever meets them has met their type. A name
//! counts once for each type, or once for each room if it belongs to no type: what a crate has once for
//! each operating system is one item.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::source::{self, SourceFile};

/// The public items of each package that is a library, in the order of their files.
#[derive(Debug, Default)]
pub struct PublicItems {
    by_package: BTreeMap<String, Vec<String>>,
}

impl PublicItems {
    pub(super) fn of(files: &[SourceFile]) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        for file in source::without_tests(files) {
            let Some(package) = file.package() else {
                continue;
            };
            let of_package = found.by_package.entry(package.to_owned()).or_default();
            for (owner, item) in items(&file.code) {
                if seen.insert((package, file.module().first().copied(), owner, name(item))) {
                    of_package.push(format!("{}: {}", file.path, item.trim()));
                }
            }
        }
        found
    }

    /// How many items a package has.
    #[must_use]
    pub fn count(&self, package: &str) -> usize {
        self.by_package.get(package).map_or(0, Vec::len)
    }
}

impl fmt::Display for PublicItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for items in self.by_package.values() {
            for item in items {
                writeln!(f, "{item}")?;
            }
        }
        for (package, items) in &self.by_package {
            writeln!(f, "public items of {package}: {}", items.len())?;
        }
        Ok(())
    }
}

/// The lines in which public items begin, each with the line of the `impl` around it. What stands in
/// a private module cannot be named from outside.
fn items(code: &str) -> Vec<(Option<&str>, &str)> {
    let (mut owner, mut is_hidden) = (None, false);
    let mut items = Vec::new();
    for line in code.lines() {
        if line.starts_with("impl") {
            owner = Some(line);
        } else if line.starts_with("mod ") && line.ends_with('{') {
            is_hidden = true;
        } else if line == "}" {
            (owner, is_hidden) = (None, false);
        } else if !is_hidden && is_public_item(line) {
            items.push((owner, line));
        }
    }
    items
}

/// Whether an item begins in this line that is visible outside the crate.
fn is_public_item(line: &str) -> bool {
    let Some(item) = line.trim_start().strip_prefix("pub ") else {
        return false;
    };
    let mut words = item.split_whitespace();
    // A name follows the keyword, and a field's name is followed by a colon.
    words.any(|word| KEYWORDS.contains(&word)) || item.starts_with("const ")
}

/// The name of the item that begins in this line.
fn name(item: &str) -> &str {
    let mut words = item.split_whitespace();
    let is_keyword = |word: &&str| KEYWORDS.contains(word) || *word == "const";
    let mut after_keywords = words.by_ref().skip_while(|word| !is_keyword(word));
    let named = after_keywords
        .find(|word| !is_keyword(word))
        .unwrap_or(item);
    named
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or(named)
}

const KEYWORDS: [&str; 8] = [
    "fn", "struct", "enum", "trait", "type", "mod", "static", "union",
];
