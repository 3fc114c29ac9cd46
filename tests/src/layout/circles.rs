//! No two files name each other, directly or through others.

use std::collections::{BTreeSet, VecDeque};

use super::allowed::AllowedImport;
use super::imports::Imports;

/// Finds the shortest circle through each file, after the allowed imports are taken out, and the
/// allowances that break no circle.
pub(super) fn check(imports: &Imports<'_>, allowed: &[AllowedImport]) -> Vec<String> {
    let full: Vec<_> = (0..imports.len()).map(|at| imports.named_by(at)).collect();
    let is_allowed = |from: usize, to: usize| {
        let names = |import: &&AllowedImport| {
            import.from == imports.path(from) && import.to == imports.path(to)
        };
        allowed.iter().any(|import| names(&import))
    };
    let mut kept = full.clone();
    for (from, named) in kept.iter_mut().enumerate() {
        named.retain(|&to| !is_allowed(from, to));
    }

    let mut broken = Vec::new();
    let mut reported = BTreeSet::new();
    for at in 0..kept.len() {
        if let Some(circle) = shortest_path(&kept, at, at)
            && reported.insert(circle.iter().copied().collect::<BTreeSet<_>>())
        {
            let paths: Vec<_> = circle.iter().map(|&file| imports.path(file)).collect();
            broken.push(format!("a circle of imports: {}", paths.join(" -> ")));
        }
    }
    for import in allowed {
        let at = |path| (0..imports.len()).find(|&at| imports.path(at) == path);
        let is_needed = at(import.from)
            .zip(at(import.to))
            .is_some_and(|(from, to)| {
                full[from].contains(&to) && shortest_path(&full, to, from).is_some()
            });
        if !is_needed {
            let AllowedImport { from, to, reason } = import;
            broken.push(format!(
                "an allowance that nothing needs: {from} may import {to} ({reason})"
            ));
        }
    }
    broken
}

/// The files on the shortest way along imports, with both ends; at least one import long.
fn shortest_path(named: &[Vec<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![None; named.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for &next in &named[at] {
            if next == to {
                let mut path = vec![to, at];
                let mut last = at;
                while last != from {
                    last = came_from[last]?;
                    path.push(last);
                }
                path.reverse();
                return Some(path);
            }
            if next != from && came_from[next].is_none() {
                came_from[next] = Some(at);
                queue.push_back(next);
            }
        }
    }
    None
}
