//! What users of a library can name: its front door, item by item.
//!
//! Text is enough for that, since the compiler warns of a `pub` that cannot be reached. Methods of
//! public traits, fields and variants are not counted: whoever meets them has met their type.

use std::collections::BTreeMap;
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
        for file in source::without_tests(files) {
            let Some(package) = file.package() else {
                continue;
            };
            let items = file.code.lines().filter(|line| is_public_item(line));
            let named = items.map(|item| format!("{}: {}", file.path, item.trim()));
            let of_package = found.by_package.entry(package.to_owned());
            of_package.or_default().extend(named);
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

/// Whether an item begins in this line that is visible outside the crate.
fn is_public_item(line: &str) -> bool {
    let Some(item) = line.trim_start().strip_prefix("pub ") else {
        return false;
    };
    let mut words = item.split_whitespace();
    // A name follows the keyword, and a field's name is followed by a colon.
    words.any(|word| KEYWORDS.contains(&word)) || item.starts_with("const ")
}

const KEYWORDS: [&str; 8] = [
    "fn", "struct", "enum", "trait", "type", "mod", "static", "union",
];
