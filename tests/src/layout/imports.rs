//! Which file names which other file of its crate, and by which path.
//!
//! A path is followed through the re-exports of the rooms on its way to the file that has the item.
//! What the entrance of a room re-exports is no import of that file: it decides nothing.

use std::collections::BTreeMap;

use super::code::is_word;
use super::source::{self, SourceFile};

/// A path in a file, with its first word resolved: from the root of the crate.
#[derive(Clone, Debug, PartialEq)]
struct Mention {
    path: Vec<String>,
    /// The name under which a `use` brings it in; none for a path in the midst of code.
    alias: Option<String>,
    is_reexport: bool,
}

/// The files that are not tests, and what each one mentions.
#[derive(Debug)]
pub(super) struct Imports<'a> {
    files: Vec<&'a SourceFile>,
    /// Package and path of a module, and the index of its file.
    modules: BTreeMap<(&'a str, String), usize>,
    mentions: Vec<Vec<Mention>>,
}

impl<'a> Imports<'a> {
    pub(super) fn new(all: &'a [SourceFile]) -> Self {
        let files = source::without_tests(all);
        let modules = files
            .iter()
            .enumerate()
            .filter_map(|(at, file)| Some(((file.package()?, file.module().join("::")), at)))
            .collect();
        let mut imports = Self {
            files,
            modules,
            mentions: Vec::new(),
        };
        imports.mentions = (0..imports.files.len())
            .map(|at| imports.mentions_of(at))
            .collect();
        imports
    }

    pub(super) fn path(&self, at: usize) -> &'a str {
        &self.files[at].path
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The files that have what this one names.
    pub(super) fn named_by(&self, at: usize) -> Vec<usize> {
        let mut named = Vec::new();
        for mention in &self.mentions[at] {
            if !(mention.is_reexport && self.files[at].is_entrance()) {
                self.resolve(at, &mention.path, 0, &mut named);
            }
        }
        named.sort_unstable();
        named.dedup();
        named.retain(|&other| other != at);
        named
    }

    /// Finds paths that reach into a room past its entrance.
    pub(super) fn check_rooms(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (at, mentions) in self.mentions.iter().enumerate() {
            let mut seen: Vec<&str> = Vec::new();
            for mention in mentions {
                if let Some((room, inner)) = self.inner_file(at, &mention.path)
                    && !seen.contains(&self.path(inner))
                {
                    seen.push(self.path(inner));
                    broken.push(format!(
                        "{} reaches into the room `{room}`: {} is seen from outside only by what the room re-exports",
                        self.path(at),
                        self.path(inner),
                    ));
                }
            }
        }
        broken
    }

    /// The room that the path enters from outside, and the file within that it names.
    fn inner_file(&self, at: usize, path: &[String]) -> Option<(String, usize)> {
        let own = self.files[at].module();
        (1..path.len()).find_map(|depth| {
            let room = &path[..depth];
            let is_inside =
                own.len() >= depth && own.iter().zip(room).all(|(one, other)| one == other);
            let inner = self.module(at, &path[..=depth])?;
            let is_item = path.len() == depth + 1 && self.reexports(at, room, &path[depth]);
            (!is_inside && !is_item).then(|| (room.join("::"), inner))
        })
    }

    /// Whether the entrance of the room has an item of this name, which a file there can have as well.
    fn reexports(&self, at: usize, room: &[String], name: &str) -> bool {
        let entrance = self
            .module(at, room)
            .map(|entrance| &self.mentions[entrance]);
        entrance.is_some_and(|mentions| {
            let is_meant = |mention: &Mention| mention.alias.as_deref() == Some(name);
            mentions
                .iter()
                .any(|mention| mention.is_reexport && is_meant(mention))
        })
    }

    fn module(&self, at: usize, path: &[String]) -> Option<usize> {
        let package = self.files[at].package()?;
        self.modules.get(&(package, path.join("::"))).copied()
    }

    /// Adds the files that have the item: usually one, several if re-exports are by `*`.
    fn resolve(&self, from: usize, path: &[String], depth: usize, found: &mut Vec<usize>) {
        let known = (0..=path.len())
            .rev()
            .find_map(|len| Some((len, self.module(from, &path[..len])?)));
        let Some((len, module)) = known else { return };
        let reexports = self.mentions.get(module).map_or(&[][..], Vec::as_slice);
        let item = path.get(len);
        let mut is_elsewhere = false;
        for mention in reexports
            .iter()
            .filter(|mention| mention.is_reexport && depth < DEPTH_MAX)
        {
            let is_meant = match (&mention.alias, item) {
                (Some(alias), Some(item)) => alias == "*" || item == "*" || alias == item,
                _ => false,
            };
            if is_meant {
                let mut target = mention.path.clone();
                if mention.alias.as_deref() == Some("*") {
                    target.pop();
                    target.extend(item.cloned());
                }
                is_elsewhere |= mention.alias.as_deref() != Some("*");
                self.resolve(module, &target, depth + 1, found);
            }
        }
        if !is_elsewhere {
            found.push(module);
        }
    }

    fn mentions_of(&self, at: usize) -> Vec<Mention> {
        let file = self.files[at];
        let code = file.code.as_str();
        let own: Vec<String> = file.module().into_iter().map(str::to_owned).collect();
        let mut starts = vec![
            ("crate".to_owned(), vec![]),
            ("self".to_owned(), own.clone()),
        ];
        let children = self
            .modules
            .keys()
            .filter(|(package, _)| Some(*package) == file.package());
        for (_, module) in children {
            let parts: Vec<String> = module.split("::").map(str::to_owned).collect();
            if let Some((name, parent)) = parts.split_last()
                && parent == own
                && !name.is_empty()
            {
                starts.push((name.clone(), parts));
            }
        }
        let (mut mentions, mut bodies, mut rest) = (Vec::new(), Vec::new(), code);
        // First what `use` brings in, since paths in code can begin with it.
        while let Some((before, is_reexport, tree, after)) = next_use(rest) {
            for mut path in expanded(tree) {
                let alias = path.pop();
                if let Some(path) = rooted(&path, &own, &starts) {
                    mentions.push(Mention {
                        path,
                        alias,
                        is_reexport,
                    });
                }
            }
            bodies.push(before);
            rest = after;
        }
        bodies.push(rest);
        let modules: Vec<_> = mentions
            .iter()
            .filter(|mention| self.module(at, &mention.path).is_some())
            .filter_map(|mention| Some((mention.alias.clone()?, mention.path.clone())))
            .collect();
        starts.extend(modules);
        for path in bodies.into_iter().flat_map(paths_in) {
            if let Some(path) = rooted(&path, &own, &starts) {
                mentions.push(Mention {
                    path,
                    alias: None,
                    is_reexport: false,
                });
            }
        }
        mentions
    }
}

/// Re-exports of re-exports: rooms are not deeper.
const DEPTH_MAX: usize = 8;

/// The path from the root of the crate, if it begins with a word that leads into the crate.
fn rooted(
    path: &[String],
    own: &[String],
    starts: &[(String, Vec<String>)],
) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if ups > 0 {
        let base = own.get(..own.len().checked_sub(ups)?)?;
        return Some([base, &path[ups..]].concat());
    }
    let (_, base) = starts.iter().find(|(name, _)| Some(name) == path.first())?;
    Some([base, &path[1..]].concat())
}

/// The next `use`: what stands before it, whether it is a re-export, what it brings in, what follows.
fn next_use(code: &str) -> Option<(&str, bool, &str, &str)> {
    code.match_indices("use ").find_map(|(at, _)| {
        let before = &code[..at];
        let begin = before.rfind([';', '{', '}', ']']).map_or(0, |end| end + 1);
        let visibility = before[begin..].trim();
        let is_statement = visibility.is_empty() || visibility.starts_with("pub");
        let (tree, after) = code[at + 4..].split_once(';')?;
        is_statement.then_some((before, !visibility.is_empty(), tree, after))
    })
}

/// The paths of a `use` tree, each followed by the name that it gets.
fn expanded(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((stem, list)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut parts: Vec<String> = path
            .split("::")
            .map(|part| part.trim().to_owned())
            .collect();
        if parts.len() > 1 && parts.last().is_some_and(|part| part == "self") {
            parts.pop();
        }
        let name = if alias.is_empty() {
            parts.last().cloned()
        } else {
            Some(alias.trim().to_owned())
        };
        parts.extend(name);
        return vec![parts];
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let stem = stem.trim().trim_end_matches("::");
    let items = split_list(list);
    items
        .iter()
        .flat_map(|item| expanded(&format!("{stem}::{item}")))
        .collect()
}

/// The items between commas that are in no inner braces.
fn split_list(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                items.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[begin..]);
    items
        .into_iter()
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// All `a::b::c` in the code.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let bytes = code.as_bytes();
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = word_end(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        let is_first = at == 0 || !matches!(bytes[at - 1], b':' | b'$' | b'.' | b'\'');
        let mut parts = vec![code[at..end].to_owned()];
        at = end;
        while bytes[at..].starts_with(b"::") && word_end(bytes, at + 2) > at + 2 {
            let end = word_end(bytes, at + 2);
            parts.push(code[at + 2..end].to_owned());
            at = end;
        }
        if is_first && parts.len() > 1 {
            paths.push(parts);
        }
    }
    paths
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..]
        .iter()
        .take_while(|&&byte| is_word(byte))
        .count()
}
