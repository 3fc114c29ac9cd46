//! Every file that a table of `ARCHITECTURE.md` names is there.
//!
//! A table whose last heading is "where in `folder`" names files of that folder, without ending; any
//! other one names them from the root of the workspace. Words in parentheses name items, not files.

/// Finds names without a file; `is_there` is asked about a path from the root of the workspace.
pub(super) fn check(page: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    let mut folder = "";
    for line in page.lines() {
        let Some(cells) = line.strip_prefix('|') else {
            folder = "";
            continue;
        };
        let last = cells
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        if let Some(heading) = last.trim().strip_prefix("where in ") {
            folder = heading.trim_matches('`');
            continue;
        }
        for name in quoted(&without_parentheses(last)) {
            let path = match folder {
                "" if !name.contains('/') => continue,
                "" => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            if !is_there(&path) && !is_there(&format!("{path}.rs")) {
                missing.push(format!("ARCHITECTURE.md names {path}, which is not there"));
            }
        }
    }
    missing
}

fn without_parentheses(cell: &str) -> String {
    let mut parts = cell.split('(');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| {
        kept + part.split_once(')').map_or("", |(_, rest)| rest)
    })
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
