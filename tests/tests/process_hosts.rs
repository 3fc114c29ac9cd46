//! Children of hosts in an unusual state.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use common::{Facts, HOST, has_program};

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
    let facts = Facts::of(HOST, &["leased-programs"]);
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
