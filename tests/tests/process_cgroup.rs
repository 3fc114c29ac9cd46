//! Children with a control group of their own. What needs one is skipped where this user may not make it.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use std::path::{Path, PathBuf};
use std::{fs, io};

use common::{AMPLE, BRIEF, Facts, HOST, Scene, can_make_namespaces, graces, read_lines, write_to};
use pool_stdio::{
    CgroupProblem, CgroupSpec, Child, CommandError, CommandSpec, KillScope, Rung, SpawnError, Stop,
    Survivors,
};
use pool_tests::children::block_on;
use pool_tests::ended_host::{HANG, Host, wait_for};

/// A directory for groups, removed at the end.
struct Delegated(PathBuf);

impl Delegated {
    /// `None` where there is none to be had.
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux has it");
        let mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts
            .filter(|mount| mount[2] == "cgroup2")
            .map(|mount| mount[1].to_owned());
        let path =
            mount.map(|at| Path::new(&at).join(format!("pool-test-{}-{name}", std::process::id())));
        let made = path.into_iter().find(|path| fs::create_dir(path).is_ok());
        #[expect(clippy::print_stderr, reason = "it must be seen that it was not tried")]
        if made.is_none() {
            eprintln!(
                "SKIPPED: no control group can be made here; run it as root, with cgroup2 mounted"
            );
        }
        made.map(Self)
    }

    fn spec(&self) -> CgroupSpec {
        CgroupSpec::under(&self.0)
    }

    /// The groups in it.
    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("it is there").flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.map(|entry| entry.path()).collect()
    }

    /// For a test that fails.
    fn kill_all(&self) {
        for group in self.groups() {
            drop(fs::write(group.join("cgroup.kill"), "1"));
            let is_removed = || {
                drop(fs::remove_dir(group.join("inner/.more")));
                drop(fs::remove_dir(group.join("inner")));
                drop(fs::remove_dir(&group));
                (!group.exists()).then_some(())
            };
            wait_for(HANG, is_removed).expect("nothing lives in it");
        }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

/// One that left the process group, has no mark in its environment, and has lost its parents. It ends at
/// SIGTERM, unless it is deaf.
fn daemon(trap: &str) -> String {
    format!("(setsid env -i sh -c \"{trap} echo up; exec sleep 1000\" </dev/null & ) ; exec cat")
}

fn spawn_daemon(scene: &Scene, cgroup: CgroupSpec, trap: &str) -> Child {
    let spec = CommandSpec::new("sh").args(["-c", &daemon(trap)]);
    let spec = spec.ladder_times(graces(BRIEF, AMPLE)).cgroup(cgroup);
    let mut child = scene.spawn_spec(spec);
    assert_eq!(read_lines(&mut child, 1), "up\n");
    // Its parent has gone when `cat` runs.
    write_to(&mut child, "cat\n");
    assert_eq!(read_lines(&mut child, 1), "cat\n");
    child
}

#[test]
fn a_child_is_in_a_group_of_its_own_from_the_start_and_the_group_goes_with_it() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("own") else {
        return;
    };
    let script = "while read -r line; do case $line in 0::*) echo \"$line\";; esac; done \
                  < /proc/self/cgroup; exec cat";
    let spec = || {
        CommandSpec::new("sh")
            .args(["-c", script])
            .cgroup(delegated.spec())
    };
    let mut children = [scene.spawn_spec(spec()), scene.spawn_spec(spec())];
    let said = children.each_mut().map(|child| read_lines(child, 1));
    assert_ne!(said[0], said[1]);
    for line in said {
        let name = Path::new(line.trim()).file_name().expect("it is a path");
        assert!(delegated.0.join(name).exists(), "{line}");
    }
    for child in children {
        let end = block_on(child.terminate(Stop::Orderly));
        assert_eq!((end.rung, end.survivors), (Rung::Eof, Survivors::Known(0)));
        assert_eq!(end.exit.status().and_then(|status| status.code()), Some(0));
    }
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}

#[test]
fn what_hides_from_every_other_way_of_looking_is_ended_with_the_group() {
    for (trap, rung) in [("", Rung::Term), ("trap '' TERM;", Rung::Kill)] {
        let scene = Scene::new();
        let Some(delegated) = Delegated::new("daemon") else {
            return;
        };
        let child = spawn_daemon(&scene, delegated.spec(), trap);
        let end = if rung == Rung::Kill {
            block_on(child.terminate(Stop::Force))
        } else {
            block_on(child.terminate(Stop::Orderly))
        };
        assert_eq!((end.rung, end.survivors), (rung, Survivors::Known(0)));
        // A group can be removed when nothing lives in it.
        assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
        scene.end(Vec::new());
    }
}

/// Without `/proc`, who has left the process group is known by the control group alone. The kill reaches
/// them: SIGTERM goes to processes that can be told apart.
#[test]
fn without_proc_the_control_group_shows_who_is_left() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("no-proc") else {
        return;
    };
    if !can_make_namespaces() {
        return;
    }
    let delegated_path = delegated.0.display();
    let script = format!(
        "umount -l /proc && POOL_TEST_CGROUP={delegated_path} exec {HOST} end-of-a-wrapper group grouped"
    );
    let facts = Facts::of("unshare", &["-m", "sh", "-c", &script]);
    let said = ["rung", "found", "survivors", "all_gone"].map(|name| facts.one(name));
    assert_eq!(said, ["Kill", "1", "Known(0)", "true"]);
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}

/// What it started has no mark in its environment, no parent, and another process group. A group can be
/// removed when nothing lives in it.
#[test]
fn a_killed_host_leaves_neither_the_control_group_of_a_child_nor_what_lives_in_it() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("killed host") else {
        return;
    };
    let path = delegated.0.to_str().expect("it is made of ASCII");
    // The second is deaf, and lives in a group of its own two levels below the child's. A dot hides such a group from
    // a shell's `*`.
    let deaf = "mkdir -p \\\"\\$0/inner/.more\\\" && echo 0 >\\\"\\$0/inner/.more/cgroup.procs\\\" || exit 1; \
                trap '' TERM; exec >&-";
    let daemon = |before: &str| {
        let wait = "echo up >&2; while :; do sleep 1000; done";
        format!(
            "(setsid env -i sh -c \"{before}; {wait}\" \"$POOL_TEST_CGROUP\"/pool-stdio-$PPID-* & ); exec cat"
        )
    };
    for own_guardian in [None, Some(("POOL_TESTS_GUARD_MAIN", "1"))] {
        for (script, is_nested) in [(daemon(":"), false), (daemon(deaf), true)] {
            let variables: Vec<_> = own_guardian
                .into_iter()
                .chain([("POOL_TEST_CGROUP", path)])
                .collect();
            let words = ["end-of-the-host", "kill", "tree", &script];
            let mut host = Host::start(HOST, &words, &variables);
            let groups = delegated.groups();
            assert_eq!(groups.len(), 1, "{words:?}");
            if is_nested {
                let members = fs::read_to_string(groups[0].join("inner/.more/cgroup.procs"));
                let members = members.expect("the daemon made the group");
                assert!(members.lines().count() > 0, "the daemon is not in it");
                host.replace_guardian();
            }
            host.assert_end();
            let is_removed = || delegated.groups().is_empty().then_some(());
            if wait_for(HANG, is_removed).is_none() {
                delegated.kill_all();
                panic!("{words:?} left something");
            }
        }
    }
    scene.end(Vec::new());
}

#[test]
fn a_dropped_child_leaves_nothing_in_its_group() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("dropped") else {
        return;
    };
    let child = spawn_daemon(&scene, delegated.spec(), "trap '' TERM;");
    let ending = child.terminating();
    drop(child);
    assert_eq!(block_on(ending).survivors, Survivors::Known(0));
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}

#[test]
fn groups_that_the_child_makes_in_its_own_go_too() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("nested") else {
        return;
    };
    let script =
        "for group in \"$0\"/pool-stdio-*; do mkdir \"$group/inner\"; done; echo made; exec cat";
    let spec = CommandSpec::new("sh")
        .args(["-c", script])
        .arg(&delegated.0);
    let mut child = scene.spawn_spec(spec.cgroup(delegated.spec()));
    assert_eq!(read_lines(&mut child, 1), "made\n");
    block_on(child.terminate(Stop::Orderly));
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}

#[test]
fn limits_hold_for_the_whole_group_or_their_absence_is_said_before_a_start() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("limits") else {
        return;
    };
    let mut cgroup = delegated.spec();
    cgroup.memory_bytes_max = Some(64 << 20);
    cgroup.processes_max = Some(3);
    let has_both = ["memory", "pids"].iter().all(|controller| {
        let set = format!("+{controller}");
        fs::write(delegated.0.join("cgroup.subtree_control"), set).is_ok()
    });
    let script = "read -r x; sleep 60 & sleep 60 & sleep 60 & echo started; exec cat";
    let spec = CommandSpec::new("sh").args(["-c", script]).cgroup(cgroup);
    if has_both {
        let mut child = scene.spawn_spec(spec);
        let group = delegated.groups().pop().expect("the child lives");
        let read = |file| fs::read_to_string(group.join(file)).expect("the group has it");
        assert_eq!(
            (read("memory.max"), read("pids.max")),
            ("67108864\n".into(), "3\n".into())
        );
        write_to(&mut child, "go\n");
        // The shell cannot start the third one.
        let status = block_on(child.exited()).status();
        assert_ne!(status.and_then(|status| status.code()), Some(0));
        block_on(child.terminate(Stop::Force));
    } else {
        let error = spec.build().expect_err("the controllers are not there");
        let CommandError::Cgroup { problem, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            matches!(problem, CgroupProblem::NoController { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("cgroup.subtree_control"),
            "{error}"
        );
    }
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}

#[test]
fn a_group_that_cannot_be_made_later_fails_the_start_and_can_be_tried_again() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("later") else {
        return;
    };
    let command = CommandSpec::new("cat")
        .cgroup(delegated.spec())
        .build()
        .unwrap();
    let allow = |count: &str| {
        let set = fs::write(delegated.0.join("cgroup.max.descendants"), count);
        set.expect("every group has the file");
    };
    allow("0");
    let error = block_on(scene.children.spawn(&command)).expect_err("no group may be made");
    assert!(
        matches!(error, SpawnError::Cgroup { .. }) && error.is_transient(),
        "{error}"
    );
    allow("max");
    let child = block_on(scene.children.spawn(&command)).expect("it may");
    block_on(child.terminate(Stop::Orderly));
    scene.end(Vec::new());
}

#[test]
fn what_cannot_have_a_group_is_refused_before_a_start() {
    // Directories are opened, which takes descriptors that the census of another test would see.
    let _scene = Scene::new();
    let problem = |spec: CommandSpec| match spec.build() {
        Err(CommandError::Cgroup { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let cat = || CommandSpec::new("cat");
    let missing = problem(cat().cgroup(CgroupSpec::under("/no/such/directory")));
    assert!(matches!(&missing, CgroupProblem::NotDelegated { source }
        if source.kind() == io::ErrorKind::NotFound));
    let plain = problem(cat().cgroup(CgroupSpec::under(std::env::temp_dir())));
    assert!(matches!(plain, CgroupProblem::NotCgroup2));
    let spec = cat().cgroup(CgroupSpec::under("/no/such/directory"));
    let error = spec.kill_scope(KillScope::Root).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`KillScope::Root` cannot be combined with a control group"
    );
}

#[test]
fn a_threaded_directory_is_refused_before_a_start() {
    let scene = Scene::new();
    let Some(delegated) = Delegated::new("threaded") else {
        return;
    };
    fs::write(delegated.0.join("cgroup.type"), "threaded").expect("it is empty");
    let error = CommandSpec::new("cat")
        .cgroup(delegated.spec())
        .build()
        .unwrap_err();
    assert!(
        error.to_string().contains("must not be threaded"),
        "{error}"
    );
    assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    scene.end(Vec::new());
}
