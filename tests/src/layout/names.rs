//! Two files of a crate have one name only if they are the same part of rooms of one kind.

use std::collections::BTreeMap;

use super::allowed::AllowedName;
use super::source::{self, SourceFile};

pub(super) fn check(files: &[SourceFile], allowed: &[AllowedName]) -> Vec<String> {
    let mut named: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for file in source::without_tests(files) {
        if let Some(package) = file.package()
            && !file.is_entrance()
        {
            let (folder, _) = file.path.rsplit_once('/').unwrap_or_default();
            named
                .entry((package, file.stem()))
                .or_default()
                .push(folder);
        }
    }
    named.retain(|_, folders| folders.len() > 1);

    let mut broken = Vec::new();
    let mut is_needed = vec![false; allowed.len()];
    for ((_, name), folders) in named {
        let allowance = allowed.iter().position(|allowed| {
            allowed.name == name
                && folders
                    .iter()
                    .all(|folder| allowed.folders.contains(folder))
        });
        match allowance {
            Some(at) => is_needed[at] = true,
            None => broken.push(format!(
                "one name for several files: {name}.rs in {}",
                folders.join(", ")
            )),
        }
    }
    for (allowed, _) in allowed
        .iter()
        .zip(is_needed)
        .filter(|(_, is_needed)| !is_needed)
    {
        let AllowedName {
            name,
            folders,
            reason,
        } = allowed;
        let folders = folders.join(", ");
        broken.push(format!(
            "an allowance that nothing needs: {name}.rs in {folders} ({reason})"
        ));
    }
    broken
}
