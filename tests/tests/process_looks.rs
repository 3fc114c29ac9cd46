//! What is reported where looking for survivors is difficult: nothing that was not seen.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use common::{Facts, HOST, can_make_namespaces, has_program};

const SCOPES: [&str; 2] = ["group", "tree"];

#[test]
fn a_host_without_descriptors_still_finds_survivors() {
    for scope in SCOPES {
        let facts = Facts::of(HOST, &["end-of-a-wrapper", scope, "descriptors"]);
        assert_eq!(facts.one("all_gone"), "true", "{scope}");
        assert_eq!(
            (facts.one("rung"), facts.one("survivors")),
            ("Term", "Known(0)")
        );
    }
}

#[test]
fn a_limit_below_what_is_open_deafens_nobody() {
    let facts = Facts::of(HOST, &["end-of-a-wrapper", "group", "no-descriptors"]);
    assert_eq!(facts.one("all_gone"), "true");
    assert_eq!(
        (facts.one("rung"), facts.one("survivors")),
        ("Term", "Known(0)")
    );
}

#[test]
fn a_process_whose_first_thread_has_ended_is_alive() {
    if !has_program("python3") {
        return;
    }
    let facts = Facts::of(HOST, &["end-of-a-wrapper", "group", "threads"]);
    assert_eq!(facts.one("all_gone"), "true");
    assert_eq!(
        (
            facts.one("rung"),
            facts.one("found"),
            facts.one("survivors")
        ),
        ("Term", "1", "Known(0)")
    );
}

/// While one pass goes on, such a process is always another one, whose turn was before.
#[test]
fn a_process_that_goes_on_in_another_again_and_again_is_found() {
    if !has_program("perl") {
        return;
    }
    for condition in ["hopping", "continued"] {
        for scope in ["group", "tree", "group", "group", "group"] {
            let facts = Facts::of(HOST, &["end-of-a-wrapper", scope, condition]);
            let said = ["rung", "survivors", "all_gone"].map(|name| facts.one(name));
            // It can go on in a process that the SIGTERM did not reach.
            assert_ne!(said[0], "Eof", "{scope} {condition}");
            assert_eq!(said[1..], ["Known(0)", "true"], "{scope} {condition}");
        }
    }
}

#[test]
fn processes_that_the_system_hides_keep_nobody_from_being_counted() {
    if !(can_make_namespaces() && has_program("setpriv")) {
        return;
    }
    for scope in SCOPES {
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        let hide = "mount -t proc -o hidepid=1 proc /proc";
        let scene = format!("{hide} && {nobody} {HOST} end-of-a-wrapper {scope} hidden; exit $?");
        let facts = Facts::of("unshare", &["-mpf", "sh", "-c", &scene]);
        let said = ["rung", "survivors", "all_gone"].map(|name| facts.one(name));
        assert_eq!(said, ["Term", "Known(0)", "true"], "{scope}");
    }
}

/// Without the rights of root an unreadable process is unreadable. In a namespace of its own, where
/// no process of another user is a suspect.
fn play_as_nobody(condition: &str) -> Option<Facts> {
    let can = has_program("perl") && has_program("setpriv") && can_make_namespaces();
    can.then(|| {
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        let scene = format!("{nobody} {HOST} end-of-a-wrapper tree {condition}; exit $?");
        Facts::of("unshare", &["-mpf", "--mount-proc", "sh", "-c", &scene])
    })
}

/// One after the other: the orphan would be a suspect for the other child too.
#[test]
fn an_unreadable_descendant_is_found_by_its_parent_and_an_orphan_makes_the_count_unknown() {
    let outcome = |condition| {
        let facts = play_as_nobody(condition)?;
        let all = ["rung", "found", "survivors", "all_gone"].map(|name| facts.one(name).to_owned());
        Some(all)
    };
    let (Some(descendant), Some(orphan)) = (outcome("unreadable"), outcome("unreadable-orphan"))
    else {
        return;
    };
    assert_eq!(descendant, ["Term", "1", "Known(0)", "true"]);
    assert_eq!(orphan, ["Kill", "0", "Unknown(Unreadable)", "false"]);
}

#[test]
fn without_proc_the_group_is_ended_and_nothing_else_is_said_to_be_gone() {
    if !can_make_namespaces() {
        return;
    }
    for (scope, survivors) in SCOPES.into_iter().zip(["Known(0)", "Unknown(NoProc)"]) {
        // The shell is the first process of the namespace, and reaps.
        let scene = format!("umount -l /proc; {HOST} end-of-a-wrapper {scope} no-proc; exit $?");
        let facts = Facts::of("unshare", &["-mpf", "sh", "-c", &scene]);
        assert_eq!(facts.one("all_gone"), "true", "{scope}");
        assert_eq!(facts.one("survivors"), survivors, "{facts:?}");
        // The dead count as alive until the first process of the system reaps them.
        assert!(["Term", "Kill"].contains(&facts.one("rung")), "{facts:?}");
    }
}

#[test]
fn a_proc_of_another_namespace_is_no_proc() {
    if !can_make_namespaces() {
        return;
    }
    for scope in SCOPES {
        // The host is no first process, or it would have to reap what is left to it.
        let scene = format!("{HOST} end-of-a-wrapper {scope} foreign; exit $?");
        let facts = Facts::of("unshare", &["-mpf", "sh", "-c", &scene]);
        assert_eq!(facts.one("all_gone"), "true", "{scope}");
        assert_ne!(facts.one("rung"), "Eof", "{scope}");
    }
}

#[test]
fn the_ends_of_many_children_cost_hardly_more_than_those_of_a_few() {
    let millis = |count: &str| {
        let facts = Facts::of(HOST, &["many-ends", count]);
        for (name, expected) in [("rung", "Term"), ("found", "1"), ("survivors", "Known(0)")] {
            assert!(
                facts.all(name).iter().all(|value| *value == expected),
                "{facts:?}"
            );
        }
        facts.one("millis").parse::<u64>().unwrap()
    };
    let mut seen = Vec::new();
    // One time in three is enough: on a busy machine the many can be held up for other reasons.
    let is_cheap = (0..3).any(|_| {
        let (few, many) = (millis("5"), millis("180"));
        seen.push((few, many));
        many < 4 * few
    });
    assert!(is_cheap, "milliseconds of 5 and of 180: {seen:?}");
}
