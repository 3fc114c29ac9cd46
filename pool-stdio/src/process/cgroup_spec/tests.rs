//! Directories of plain files.

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pool-cgroups-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).expect("it is writable");
    path
}

#[test]
fn what_is_no_control_group_is_refused_and_nothing_is_left() {
    let plain = directory("plain");
    let refused = CgroupSpec::under(&plain).check();
    assert!(matches!(refused, Err(CgroupProblem::NotCgroup2)));
    assert_eq!(fs::read_dir(&plain).expect("it is there").count(), 0);
    let missing = CgroupSpec::under(plain.join("missing")).check();
    let Err(CgroupProblem::NotDelegated { source }) = missing else {
        panic!("{missing:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    drop(fs::remove_dir_all(&plain));
}

#[test]
fn limits_are_set_where_the_group_has_them_and_else_the_error_says_what_to_do() {
    let parent = directory("limits");
    let group = parent.join("group");
    fs::create_dir(&group).expect("it is writable");
    for (file, text) in [
        (MEMBERS, ""),
        ("cgroup.type", "domain\n"),
        ("memory.max", "max\n"),
    ] {
        fs::write(group.join(file), text).expect("it is writable");
    }
    let mut spec = CgroupSpec::under(&parent);
    spec.memory_bytes_max = Some(4096);
    spec.set_up(&group).expect("it has the file");
    assert_eq!(
        fs::read_to_string(group.join("memory.max")).ok().as_deref(),
        Some("4096")
    );

    spec.processes_max = Some(7);
    let error = spec
        .set_up(&group)
        .expect_err("it has no such file")
        .to_string();
    assert!(
        error.starts_with("groups in it have no pids.max: write `+pids` to"),
        "{error}"
    );
    fs::write(parent.join("cgroup.controllers"), "memory pids\n").expect("it is writable");
    let error = spec
        .set_up(&group)
        .expect_err("it has no such file")
        .to_string();
    let advice = format!(
        "run `echo +pids > {}/cgroup.subtree_control`",
        parent.display()
    );
    assert!(error.ends_with(&advice), "{error}");

    fs::write(group.join("cgroup.type"), "domain invalid\n").expect("it is writable");
    let error = spec.set_up(&group).expect_err("it takes no process");
    assert!(matches!(error, CgroupProblem::Threaded { kind } if kind == "domain invalid"));
    drop(fs::remove_dir_all(&parent));
}
