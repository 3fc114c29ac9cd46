//! Passes over made-up processes.

use super::*;
use crate::process::proc_scan::{ScanKey, ScanPurpose};

/// The child is number 1, its root is process 10, and it was started at tick 100.
fn request() -> ScanRequest {
    ScanRequest {
        key: ScanKey {
            child: ChildId(1),
            number: 1,
        },
        unreaped_root: Some(10),
        group: Some(10),
        descendants_since: Some(100),
        cgroup: None,
        recorded: Vec::new(),
        purpose: ScanPurpose::Count,
    }
}

/// A process that was started at tick 100 and leads a group of its own.
fn process(pid: u32, parent: u32, marks: Marks) -> Seen {
    Seen {
        process: Process {
            id: id(pid),
            parent,
            group: pid,
            is_dead: false,
            is_leaving: false,
            resident_bytes: 0,
        },
        marks,
    }
}

fn id(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        started_ticks: 100,
    }
}

fn member(pid: u32, parent: u32) -> Seen {
    let mut seen = process(pid, parent, Marks::NotRead);
    seen.process.group = 10;
    seen
}

fn find(request: &ScanRequest, processes: Vec<Seen>) -> (Vec<u32>, Vec<u32>) {
    let found = Snapshot::new(processes, Vec::new()).find(request);
    let pids = |list: &[ProcessId]| list.iter().map(|one| one.pid).collect();
    (pids(&found.members), pids(&found.outside))
}

#[test]
fn members_of_the_group_are_found_and_the_root_is_not_counted() {
    let processes = || {
        vec![
            member(10, 1),
            member(11, 10),
            process(12, 1, Marks::Of(vec![])),
        ]
    };
    assert_eq!(find(&request(), processes()), (vec![11], vec![]));
    let group_only = ScanRequest {
        descendants_since: None,
        ..request()
    };
    assert_eq!(find(&group_only, processes()), (vec![11], vec![]));
}

#[test]
fn a_group_that_is_not_the_childs_any_more_has_no_members() {
    let lost = ScanRequest {
        group: None,
        unreaped_root: None,
        ..request()
    };
    assert_eq!(
        find(&lost, vec![member(10, 1), member(11, 10)]),
        (vec![], vec![])
    );
}

#[test]
fn a_marked_process_is_found_wherever_it_is_and_the_marks_of_others_are_not_ours() {
    let processes = vec![
        process(20, 1, Marks::Of(vec![ChildId(7), ChildId(1)])),
        process(21, 1, Marks::Of(vec![ChildId(7)])),
    ];
    assert_eq!(find(&request(), processes), (vec![], vec![20]));
}

#[test]
fn an_unreadable_process_is_found_by_its_parents() {
    for parent in [
        member(11, 10),
        process(11, 1, Marks::Of(vec![ChildId(1)])),
        process(11, 10, Marks::NotRead),
    ] {
        let processes = vec![
            parent,
            process(12, 11, Marks::NotRead),
            process(13, 12, Marks::NotRead),
        ];
        let (_, outside) = find(&request(), processes);
        assert!(outside.ends_with(&[12, 13]), "{outside:?}");
    }
}

#[test]
fn a_recorded_process_is_found_after_its_parents_have_gone_and_so_are_its_children() {
    let later = ScanRequest {
        unreaped_root: None,
        recorded: vec![
            id(12),
            ProcessId {
                started_ticks: 99,
                ..id(14)
            },
        ],
        ..request()
    };
    let processes = vec![
        process(12, 1, Marks::NotRead),
        process(13, 12, Marks::NotRead),
        process(14, 1, Marks::NotRead),
    ];
    assert_eq!(find(&later, processes), (vec![], vec![12, 13]));
}

#[test]
fn children_of_a_stranger_that_has_the_number_of_a_reaped_root_are_not_ours() {
    let reaped = |recorded| ScanRequest {
        unreaped_root: None,
        recorded,
        ..request()
    };
    let processes = || vec![member(10, 1), process(30, 10, Marks::Of(vec![]))];
    assert_eq!(find(&reaped(vec![]), processes()).1, Vec::<u32>::new());
    // A member that was known before is ours, and so are its children.
    assert_eq!(find(&reaped(vec![id(10)]), processes()).1, vec![30]);
    let mut marked = processes();
    marked[0].marks = Marks::Of(vec![ChildId(1)]);
    assert_eq!(find(&reaped(vec![]), marked).1, vec![30]);
}

#[test]
fn a_dead_child_of_this_program_in_the_group_of_a_stranger_is_left_to_its_owner() {
    let mut dead = process(11, std::process::id(), Marks::NotRead).process;
    dead.group = 10;
    let reaped = ScanRequest {
        unreaped_root: None,
        ..request()
    };
    let found = Snapshot::new(Vec::new(), vec![dead]).find(&reaped);
    assert_eq!(found.adopted, vec![]);
}

#[test]
fn a_process_that_is_older_than_the_child_is_not_its_descendant() {
    let mut old = process(20, 10, Marks::Of(vec![ChildId(1)]));
    old.process.id.started_ticks = 99;
    assert_eq!(find(&request(), vec![old]), (vec![], vec![]));
}

#[test]
fn an_unreadable_orphan_is_a_suspect_unless_it_is_known() {
    let orphan = || vec![process(20, 1, Marks::Suspect)];
    let found = Snapshot::new(orphan(), Vec::new()).find(&request());
    assert_eq!((found.suspects, found.outside.len()), (1, 0));
    let recorded = ScanRequest {
        recorded: vec![id(20)],
        ..request()
    };
    let found = Snapshot::new(orphan(), Vec::new()).find(&recorded);
    assert_eq!((found.suspects, found.outside.len()), (0, 1));
}

#[test]
fn dead_members_are_told_apart_from_none() {
    for (group, expected) in [(10, vec![id(20)]), (11, vec![])] {
        let mut dead = process(20, 1, Marks::NotRead).process;
        dead.group = group;
        let found = Snapshot::new(Vec::new(), vec![dead]).find(&request());
        assert_eq!((found.dead_members, found.members), (expected, vec![]));
    }
}

#[test]
fn of_the_dead_our_own_children_are_reaped_if_they_are_members_or_were_recorded() {
    let own = std::process::id();
    let dead = |pid, parent, group| {
        let mut process = process(pid, parent, Marks::NotRead).process;
        process.group = group;
        process
    };
    let dead = vec![
        dead(10, own, 10),
        dead(11, own, 10),
        dead(12, 1, 10),
        dead(13, own, 13),
        dead(14, own, 14),
    ];
    let recorded = ScanRequest {
        recorded: vec![id(13)],
        ..request()
    };
    let found = Snapshot::new(Vec::new(), dead).find(&recorded);
    // Not the root, whose status the custodian takes, and not other children of the host.
    assert_eq!(found.adopted, [id(11), id(13)]);
}

#[test]
fn we_our_ancestors_and_the_first_process_adopt() {
    let parent = std::os::unix::process::parent_id();
    let mut processes = vec![
        process(parent, 5, Marks::NotRead),
        process(5, 1, Marks::NotRead),
    ];
    processes.push(process(6, 5, Marks::NotRead));
    let adopters = adopters(
        &processes
            .iter()
            .map(|seen| seen.process)
            .collect::<Vec<_>>(),
    );
    assert!(
        [1, 5, parent, std::process::id()]
            .iter()
            .all(|pid| adopters.contains(pid))
    );
    assert!(!adopters.contains(&6));
}
