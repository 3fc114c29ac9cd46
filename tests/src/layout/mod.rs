//! Checks the layout of the source tree: rules of CONTRIBUTING that neither rustc nor clippy knows.
//!
//! It reads text and nothing else, so it knows no macro and no type. That is enough to see which
//! file names which other one. `cargo run -p pool-tests --bin layout` prints what it finds.

mod allowed;
mod architecture;
mod circles;
mod code;
mod imports;
mod names;
mod public;
mod source;
mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use allowed::{ALLOWED, Allowed};
pub use public::PublicItems;
use source::{SourceFile, read_workspace};

/// Every rule that the workspace in this folder breaks, one sentence each.
///
/// # Errors
///
/// If a folder or file cannot be read.
pub fn check_workspace(root: &Path) -> io::Result<Vec<String>> {
    let mut broken = broken_rules(&read_workspace(root)?, &ALLOWED);
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    broken.extend(architecture::check(&page, |path| root.join(path).exists()));
    Ok(broken)
}

/// What users can name in each library of the workspace in this folder.
///
/// # Errors
///
/// If a folder or file cannot be read.
pub fn public_items(root: &Path) -> io::Result<PublicItems> {
    Ok(PublicItems::of(&read_workspace(root)?))
}

/// An allowance that nothing needs is a broken rule, too.
fn broken_rules(files: &[SourceFile], allowed: &Allowed) -> Vec<String> {
    let imports = imports::Imports::new(files);
    let mut broken = circles::check(&imports, allowed.circles);
    broken.extend(imports.check_rooms());
    broken.extend(names::check(files, allowed.names));
    broken.extend(text::check_lengths(files, allowed.lengths));
    broken.extend(text::check_examples(files));
    broken
}
