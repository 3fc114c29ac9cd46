//! Children of hosts in an unusual state.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use common::{Facts, HOST, can_make_namespaces, has_program};

#[test]
fn a_child_starts_clean_whatever_the_host_blocks_ignores_and_has_open() {
    let scene = "trap '' HUP USR1; exec 9</dev/null; exec \"$0\" clean-start";
    let facts = Facts::of(
        "env",
        &["--block-signal=TERM,USR2", "sh", "-c", scene, HOST],
    );
    for set in ["SigBlk", "SigIgn"] {
        assert_eq!(facts.one(set), r#""0000000000000000""#, "{set}");
    }
    assert_eq!(facts.one("descriptors"), r#"["0", "1", "2", "3"]"#);
}

#[test]
fn programs_that_do_not_open_block_no_others_until_all_threads_hang() {
    if !has_program("perl") {
        return;
    }
    let is_soon = |facts: &Facts| {
        facts.one("another_is_soon") == "true" && facts.all("seconds").last() == Some(&"0")
    };
    let facts = Facts::of_a_good_play(HOST, &["leased-programs"], is_soon);
    assert_eq!(facts.one("another_is_soon"), "true");
    // The third start of one program is refused, then those of all others, at once if it is known.
    let refused = ["third", "another", "again"].map(|name| facts.one(name));
    assert_eq!(refused, ["true"; 3]);
    assert_eq!(facts.all("hanging"), ["1", "2", "2"]);
    assert_eq!(facts.all("seconds")[2], "0");
    assert_eq!(facts.all("rung"), ["Eof"; 4]);
    assert_eq!(facts.one("afterwards"), "true");
}

#[test]
fn a_fork_of_the_host_starts_nothing_and_ends_nothing() {
    let facts = Facts::of(HOST, &["fork-of-the-host"]);
    let said = ["fork_exited_with", "is_alive", "rung"].map(|name| facts.one(name));
    assert_eq!(said, ["true", "true", "Eof"]);
}

#[test]
fn the_first_process_of_a_container_keeps_no_zombies_of_its_children() {
    if !can_make_namespaces() {
        return;
    }
    let words = ["-mpf", "--mount-proc", HOST, "first-process", "300"];
    let facts = Facts::of("unshare", &words);
    assert_adopted(&facts);
}

#[test]
fn a_subreaper_keeps_no_zombies_of_its_children() {
    assert_adopted(&Facts::of(HOST, &["subreaper", "51"]));
}

/// None of ours is left, and a child of somebody else in this process was left to them.
#[track_caller]
fn assert_adopted(facts: &Facts) {
    let names = ["zombies", "adopted", "failed_scans", "other_has_status"];
    let said = names.map(|name| facts.one(name));
    assert_eq!(said, ["0", "true", "0", "true"]);
}

#[test]
fn a_host_without_pidfds_watches_and_ends_its_children_by_their_pids() {
    for calls in ["open", "send", "both"] {
        for error in ["EPERM", "ENOSYS"] {
            let facts = Facts::of(HOST, &["refused-pidfds", calls, error]);
            let names = [
                "orderly",
                "exit",
                "sent",
                "signal",
                "has_guardian",
                "refused",
            ];
            let said = names.map(|name| facts.one(name));
            let expected = ["Eof", "Some(3)", "true", "Some(15)", "true", "0"];
            assert_eq!(said, expected, "{calls} {error}");
            let none = "Known(0)";
            assert_eq!(facts.all("survivors"), [none, none], "{calls} {error}");
        }
    }
}

#[test]
fn a_guardian_with_more_rights_than_the_host_is_replaced() {
    if !can_make_namespaces() {
        return;
    }
    let facts = Facts::of(HOST, &["other-user"]);
    let names = ["before", "after", "is_another", "starts"];
    let said = names.map(|name| facts.one(name));
    assert_eq!(said, ["[0]", "[65534]", "true", "2"]);
    // What is refused is told, and the ladder goes on.
    let names = ["refused", "rung", "killed", "refusals"];
    let said = names.map(|name| facts.one(name));
    assert_eq!(
        said,
        [
            "true",
            "Eof",
            "Status(ExitStatus(unix_wait_status(0)))",
            "true"
        ]
    );
}

#[test]
fn a_guardian_that_could_not_be_replaced_is_tried_again_without_another_child() {
    let facts = Facts::of(HOST, &["lost-guardian"]);
    let names = ["without", "starts", "rung"];
    assert_eq!(names.map(|name| facts.one(name)), ["false", "2", "Eof"]);
}

#[test]
fn a_host_without_a_shell_says_that_it_has_no_guardian_unless_it_is_its_own() {
    if !can_make_namespaces() {
        return;
    }
    let hide = "mount --bind /dev/null \"$(readlink -f /bin/sh)\"";
    let scene = format!("{hide}; exec {HOST} without-a-shell");
    for (variable, expected) in [
        ("POOL_TESTS_NOTHING", "false"),
        ("POOL_TESTS_GUARD_MAIN", "true"),
    ] {
        let set = format!("{variable}=1");
        let words = ["-m", "env", &set, "bash", "-c", &scene];
        let facts = Facts::of("unshare", &words);
        assert_eq!(
            (facts.one("has_guardian"), facts.one("rung")),
            (expected, "Eof")
        );
    }
}
