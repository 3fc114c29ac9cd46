//! The files that are looked at, and where each stands in its crate.

use std::io;
use std::path::Path;

use super::code;

/// A Rust file of the workspace.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// From the root of the workspace, with `/` between the parts.
    pub(super) path: String,
    /// As it is on disk.
    pub(super) text: String,
    /// The same without comments, strings and blocks of tests.
    pub(super) code: String,
}

impl SourceFile {
    /// A file with this text at this path.
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: code::without_tests(&code::without_comments(text)),
        }
    }

    /// The folder of its package, if it belongs to the package's library or main program.
    pub(super) fn package(&self) -> Option<&str> {
        let (package, inside) = self.path.split_once("/src/")?;
        (!package.contains('/') && !inside.starts_with("bin/")).then_some(package)
    }

    /// Its module's path in the crate; empty for the root.
    pub(super) fn module(&self) -> Vec<&str> {
        let inside = self
            .path
            .split_once("/src/")
            .map_or("", |(_, inside)| inside);
        let mut parts: Vec<_> = inside.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        parts
    }

    /// The file's name without folder and ending.
    pub(super) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.trim_end_matches(".rs")
    }

    /// Whether it is the entrance of a room, which may name all that is inside.
    pub(super) fn is_entrance(&self) -> bool {
        matches!(self.stem(), "mod" | "lib" | "main")
    }
}

/// All Rust files below `root`, but those of builds and hidden folders, in the order of their paths.
pub(super) fn read_workspace(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in root.join(&folder).read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            if entry.file_type()?.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.ends_with(".rs") {
                files.push(SourceFile::new(
                    &path,
                    &std::fs::read_to_string(entry.path())?,
                ));
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// The files of libraries and main programs that are compiled for more than tests.
pub(super) fn without_tests(files: &[SourceFile]) -> Vec<&SourceFile> {
    let tests: Vec<_> = files.iter().flat_map(test_folders).collect();
    let is_kept = |file: &&SourceFile| {
        file.package().is_some() && !tests.iter().any(|test| is_at_or_below(&file.path, test))
    };
    files.iter().filter(is_kept).collect()
}

/// The files and folders of the modules that a file declares for tests, without ending.
fn test_folders(file: &SourceFile) -> Vec<String> {
    let folder = match file.path.rsplit_once('/') {
        Some((folder, _)) if file.is_entrance() => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let modules = code::test_modules(&file.code);
    modules
        .iter()
        .map(|module| format!("{folder}/{module}"))
        .collect()
}

fn is_at_or_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}
