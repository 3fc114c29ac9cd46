//! Groups made of plain files.

use super::*;

fn group(name: &str) -> Cgroup {
    let path = std::env::temp_dir().join(format!("pool-cgroup-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(path.join("below/more")).expect("it is writable");
    Cgroup { path }
}

fn write(group: &Cgroup, file: &str, text: &str) {
    fs::write(group.path.join(file), text).expect("it is writable");
}

#[test]
fn processes_of_groups_below_are_listed_too_and_what_cannot_be_named_counts() {
    let group = group("list");
    assert_eq!(group.processes().ok(), Some(Vec::new()), "without any file");
    write(&group, MEMBERS, "12\n0\n");
    write(&group, "below/more/cgroup.procs", "13\n");
    assert_eq!(group.processes().ok(), Some(vec![12, 0, 13]));
    write(&group, MEMBERS, "");
    write(&group, "below/more/cgroup.procs", "");
    write(&group, "cgroup.events", "populated 0\nfrozen 0\n");
    assert_eq!(group.processes().ok(), Some(Vec::new()));
    write(&group, "cgroup.events", "populated 1\nfrozen 0\n");
    assert_eq!(group.processes().ok(), Some(vec![0]));
    // A file in the place of one of its directories.
    let broken = Cgroup {
        path: group.path.join(MEMBERS),
    };
    assert!(broken.processes().is_err());
    drop(fs::remove_dir_all(&group.path));
}

#[test]
fn memory_is_what_the_group_counts_if_it_counts() {
    let group = group("memory");
    assert_eq!(group.memory_bytes(), None);
    write(&group, "memory.current", "1080033280\n");
    assert_eq!(group.memory_bytes(), Some(1_080_033_280));
    drop(fs::remove_dir_all(&group.path));
}

/// On a read-only mount the error is not `NotFound` either.
#[cfg(unix)]
#[test]
fn a_group_that_is_not_there_has_gone_whatever_error_its_removal_has() {
    let group = group("gone");
    write(&group, "file", "");
    let path = group.path.join("file/gone");
    let error = fs::remove_dir(&path).expect_err("it is not there");
    assert_ne!(error.kind(), io::ErrorKind::NotFound);
    assert!(Cgroup { path }.remove());
    drop(fs::remove_dir_all(&group.path));
}

/// The system does not even say of a name of this length whether it is there.
#[cfg(unix)]
#[test]
fn a_group_that_cannot_be_looked_at_is_not_said_to_have_gone() {
    let group = group("unseen");
    let path = group.path.join("n".repeat(300));
    assert!(!Cgroup { path }.remove());
    drop(fs::remove_dir_all(&group.path));
}

#[test]
fn a_group_is_removed_with_those_below_but_not_while_one_is_in_use() {
    let group = group("remove");
    write(&group, "below/more/in-use", "");
    group.remove();
    assert!(group.path.join("below/more").exists());
    fs::remove_file(group.path.join("below/more/in-use")).expect("it is there");
    group.remove();
    assert!(!group.path.exists());
}
