//! How a child starts: what it gets, what it does not get, and how it fails to.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{BRIEF, FIXTURE, Scene, read_lines, write_to};
use pool_stdio::{
    Child, Children, Command, CommandError, CommandSpec, JsonRpcConnector, KillScope,
    OneShotConnector, Protocol, Signal, SignalError, SpawnError, StderrPolicy, StdioConnector,
    Stop,
};
use pool_testkit::census::Leftover;
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::block_on;

/// A directory of its own, removed at the end.
struct Directory {
    path: PathBuf,
}

impl Directory {
    /// In a test that has a scene, so that nobody else counts its descriptors meanwhile.
    fn new(_: &Scene, name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pool-start-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self { path }
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, "#!/bin/sh\nexec cat\n").expect("it is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

// What cannot work is said before anything is started.

#[test]
fn a_program_that_is_not_there_is_told_with_the_path_looked_for() {
    let error = CommandSpec::new("/no/such/server").build().unwrap_err();
    assert!(matches!(&error, CommandError::NotFound { program, .. }
        if program == Path::new("/no/such/server")));
    assert_eq!(error.to_string(), r#"program "/no/such/server" not found"#);

    let error = CommandSpec::new("no-such-server")
        .env("PATH", "/bin:/usr/bin")
        .build();
    let error = error.unwrap_err();
    assert!(matches!(&error, CommandError::NotFound { looked_in, .. } if looked_in.len() == 2));
    let text = error.to_string();
    assert_eq!(
        text,
        r#"program "no-such-server" not found in ["/bin", "/usr/bin"]"#
    );
}

#[test]
fn a_file_that_is_no_program_is_told_apart_from_a_directory() {
    let scene = Scene::new();
    let directory = Directory::new(&scene, "kinds");
    let plain = directory.file("plain", 0o644);
    let error = CommandSpec::new(&plain).build().unwrap_err();
    assert!(matches!(error, CommandError::NotExecutable { path, .. } if path == plain));
    let error = CommandSpec::new(&directory.path).build().unwrap_err();
    assert!(matches!(error, CommandError::IsDirectory { path } if path == directory.path));
    let inside = plain.join("server");
    let error = CommandSpec::new(&inside).build().unwrap_err();
    assert!(matches!(error, CommandError::NotFound { program, .. } if program == inside));
}

#[test]
fn a_name_is_looked_up_in_the_path_that_the_child_will_have() {
    let scene = Scene::new();
    let directory = Directory::new(&scene, "lookup");
    let server = directory.file("server", 0o755);
    let spec = CommandSpec::new("server").env("PATH", &directory.path);
    assert_eq!(spec.build().unwrap().path(), server);
    let shadow = Directory::new(&scene, "shadow");
    shadow.file("server", 0o644);
    let both = std::env::join_paths([&shadow.path, &directory.path]).unwrap();
    assert_eq!(
        CommandSpec::new("server")
            .env("PATH", both)
            .build()
            .unwrap()
            .path(),
        server
    );
    let error = CommandSpec::new("server")
        .env("PATH", &shadow.path)
        .build()
        .unwrap_err();
    assert!(matches!(error, CommandError::NotExecutable { .. }));
}

#[test]
fn a_directory_that_is_not_there_is_told_as_such() {
    for path in ["/no/such/directory", "/bin/sh"] {
        let error = CommandSpec::new("/bin/cat")
            .current_dir(path)
            .build()
            .unwrap_err();
        assert!(matches!(&error, CommandError::CurrentDir { path: told, .. }
            if told == Path::new(path)));
    }
}

#[test]
fn what_no_child_can_be_given_is_told_without_its_value() {
    let cat = || CommandSpec::new("/bin/cat");
    for (spec, what) in [
        (cat().arg("a\0b"), "argument"),
        (cat().env("A=B", ""), "environment variable"),
        (cat().env("", ""), "environment variable"),
        (cat().env("KEY", "secret\0"), "environment variable"),
        (CommandSpec::new(""), "program"),
    ] {
        let error = spec.build().unwrap_err();
        assert!(matches!(error, CommandError::Malformed { what: told, .. } if told == what));
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn more_children_than_descriptors_allow_are_refused_with_the_numbers() {
    // What is open is counted, which takes a descriptor that the census of another test would see.
    let _scene = Scene::new();
    let error = CommandSpec::new("/bin/cat")
        .children_max(1 << 40)
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    let CommandError::TooFewDescriptors {
        needed,
        limit,
        open,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(needed, 4 << 40);
    assert!(open.unwrap() < limit);
}

#[test]
fn debug_output_does_not_tell_the_values_of_the_environment() {
    let spec = CommandSpec::new("/bin/cat").env("TOKEN", "secret");
    let text = format!("{spec:?} {:?}", spec.clone().build().unwrap());
    assert!(text.contains("TOKEN") && !text.contains("secret"), "{text}");
}

// What a child gets.

/// Descriptors that this program inherited and passes on: not ours to close.
fn inherited() -> Vec<i32> {
    let open = fs::read_dir("/proc/self/fd")
        .expect("Linux has it")
        .flatten();
    let open = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut passed_on: Vec<i32> = open
        .filter(|number| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
            let info = info.unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.map(|flags| i32::from_str_radix(flags.trim(), 8).expect("octal"));
            flags.is_some_and(|flags| flags & nix::fcntl::OFlag::O_CLOEXEC.bits() == 0)
        })
        .chain([0, 1, 2])
        .collect();
    passed_on.sort_unstable();
    passed_on.dedup();
    passed_on
}

#[test]
fn a_child_has_three_descriptors_however_many_we_have() {
    let scene = Scene::new();
    let siblings = [0; 5].map(|_| scene.spawn(&Behaviour::echo()));
    let mut child = scene.spawn(&Behaviour::new().then(Step::PrintDescriptors).read_to_end());
    let expected = if cfg!(pool_stdio_portable) {
        inherited()
    } else {
        vec![0, 1, 2]
    };
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(
        read_lines(&mut child, 1),
        format!("fds {}\n", expected.join(" "))
    );
    drop((child, siblings));
    scene.end(Vec::new());
}

#[test]
fn a_child_costs_us_four_descriptors() {
    let scene = Scene::new();
    let open = || {
        let leftovers = scene.census.leftovers();
        leftovers
            .iter()
            .filter(|one| matches!(one, Leftover::Descriptor { .. }))
            .count()
    };
    let before = open();
    let children = [0; 3].map(|_| scene.spawn(&Behaviour::echo()));
    let cost = open() - before;
    let each = if cfg!(pool_stdio_portable) { 3 } else { 4 };
    assert_eq!(cost, children.len() * each);
    drop(children);
    scene.end(Vec::new());
}

#[test]
fn handles_can_be_shared_and_futures_sent_between_threads() {
    fn assert_shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>(future: T) -> T {
        future
    }
    assert_shared::<Child>();
    assert_shared::<Children>();
    assert_shared::<Command>();
    let scene = Scene::new();
    let command = scene.spec(&Behaviour::echo()).build().unwrap();
    let child = block_on(sent(scene.children.spawn(&command))).unwrap();
    let exited = sent(child.exited());
    let terminated = sent(child.terminating());
    let end = block_on(sent(child.terminate(Stop::Orderly)));
    assert_eq!((block_on(exited), block_on(terminated)), (end.exit, end));
    block_on(sent(scene.children.emptied()));
    block_on(sent(scene.children.terminate_all(BRIEF)));
    scene.end(Vec::new());
}

#[test]
fn a_child_leads_a_group_of_its_own_in_our_session() {
    let scene = Scene::new();
    let spec = scene
        .spec(&Behaviour::new().then(Step::PrintPlace).read_to_end())
        .current_dir("/usr");
    let mut child = scene.spawn_spec(spec);
    let place = read_lines(&mut child, 1);
    let session = nix::unistd::getsid(None).unwrap();
    let pid = child.pid();
    assert_eq!(
        place,
        format!("pid {pid} group {pid} session {session} in /usr\n")
    );
    drop(child);
    scene.end(Vec::new());
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let scene = Scene::new();
    // Something that we inherited and that is no part of the minimal environment.
    let minimal = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
    let inherited = std::env::vars().filter(|(name, value)| {
        let is_plain = value.chars().all(|char| char.is_ascii_alphanumeric()) && !value.is_empty();
        is_plain && name != "ADDED" && !minimal.contains(&name.as_str())
    });
    let (other, _) = inherited
        .last()
        .expect("the environment has more than the minimum");
    let behaviour = Behaviour::new()
        .then(Step::PrintEnv("PATH".into()))
        .then(Step::PrintEnv(other.clone()))
        .then(Step::PrintEnv("ADDED".into()));
    let behaviour = behaviour.read_to_end();
    let see = |spec: CommandSpec| {
        let mut child = scene.spawn_spec(spec.env("ADDED", "yes"));
        let shown = read_lines(&mut child, 3);
        shown
            .lines()
            .map(|line| line != "(unset)")
            .collect::<Vec<_>>()
    };
    let spec = || scene.spec(&behaviour);
    assert_eq!(see(spec()), [true, true, true]);
    assert_eq!(see(spec().env_remove(&other)), [true, false, true]);
    assert_eq!(see(spec().env_only(minimal)), [true, false, true]);
    assert_eq!(see(spec().env_only([&other])), [false, true, true]);
    assert_eq!(see(spec().env_only([""; 0])), [false, false, true]);
    scene.end(Vec::new());
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let scene = Scene::new();
    let odd = "a b 'c' \"d\" $HOME * \\ \n\u{e9}";
    let mut child = scene.spawn_spec(CommandSpec::new("/bin/echo").arg(odd));
    assert_eq!(read_lines(&mut child, 2), format!("{odd}\n"));
    drop(child);
    scene.end(Vec::new());
}

#[test]
fn each_of_many_children_sees_the_end_of_its_own_input() {
    let scene = Scene::new();
    let command = scene.spec(&Behaviour::echo()).build().unwrap();
    let spawning: Vec<_> = (0..8).map(|_| scene.children.spawn(&command)).collect();
    let children: Vec<_> = spawning
        .into_iter()
        .map(|one| block_on(one).unwrap())
        .collect();
    for mut child in children {
        // The siblings after it live on; none of them holds its pipe.
        drop(child.take_stdin());
        assert_eq!(block_on(child.exited()).status().unwrap().code(), Some(0));
    }
    scene.end(Vec::new());
}

#[test]
fn a_group_can_be_killed_as_soon_as_its_child_is_there() {
    let scene = Scene::new();
    let command = scene
        .spec(&Behaviour::new().then(Step::IgnoreTerminate).hang())
        .build()
        .unwrap();
    for _ in 0..100 {
        let child = block_on(scene.children.spawn(&command)).unwrap();
        child.signal(Signal::Kill).unwrap();
        block_on(child.exited());
    }
    scene.end(Vec::new());
}

#[test]
fn an_outer_pool_finds_the_children_of_a_pool_inside_its_child() {
    // What a program in the middle does: it appends its own cookie to the one it was given.
    let scene = Scene::new();
    let shown = Behaviour::new()
        .then(Step::PrintEnv("POOL_STDIO_COOKIE".into()))
        .read_to_end();
    let mut child = scene.spawn_spec(scene.spec(&shown).kill_scope(KillScope::Tree));
    let cookie = read_lines(&mut child, 1);
    assert!(
        cookie.starts_with(&format!("{}-", std::process::id())),
        "{cookie}"
    );
    assert!(cookie.ends_with("t\n"), "{cookie}");
    // The scope is in it; a child that nobody is to find has none.
    let mut plain = scene.spawn(&shown);
    assert!(read_lines(&mut plain, 1).ends_with("g\n"));
    let mut unguarded = scene.spawn_spec(scene.spec(&shown).unguarded());
    assert_eq!(read_lines(&mut unguarded, 1), "(unset)\n");
    drop((child, plain, unguarded));
    scene.end(Vec::new());
}

// How a start fails.

fn failed(scene: &Scene, command: &Command) -> SpawnError {
    block_on(scene.children.spawn(command)).expect_err("it cannot be started")
}

#[test]
fn a_program_that_went_away_after_it_was_checked_is_told() {
    let scene = Scene::new();
    let directory = Directory::new(&scene, "gone");
    let server = directory.file("server", 0o755);
    let command = CommandSpec::new(&server).build().unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o644)).unwrap();
    let error = failed(&scene, &command);
    assert!(matches!(error, SpawnError::NotExecutable { .. }) && !error.is_transient());
    fs::remove_file(&server).unwrap();
    let error = failed(&scene, &command);
    assert!(matches!(error, SpawnError::NotFound { .. }) && !error.is_transient());
    drop(directory);
    scene.end(Vec::new());
}

#[test]
fn arguments_that_are_too_long_are_told() {
    let scene = Scene::new();
    let command = CommandSpec::new("/bin/cat")
        .arg("x".repeat(3 << 20))
        .build()
        .unwrap();
    assert!(matches!(
        failed(&scene, &command),
        SpawnError::ArgumentsTooLong { .. }
    ));
    scene.end(Vec::new());
}

#[test]
fn a_directory_that_went_away_after_it_was_checked_is_told_as_such() {
    let scene = Scene::new();
    let directory = Directory::new(&scene, "cwd");
    let command = CommandSpec::new("/bin/cat").current_dir(&directory.path);
    let command = command.build().unwrap();
    fs::remove_dir_all(&directory.path).unwrap();
    let error = failed(&scene, &command);
    assert!(error.is_transient(), "it can come back");
    let SpawnError::CurrentDir { path, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(Path::new(&path), directory.path);
    fs::create_dir(&directory.path).unwrap();
    let child = block_on(scene.children.spawn(&command)).unwrap();
    block_on(child.terminate(Stop::Orderly));
    drop(directory);
    scene.end(Vec::new());
}

#[cfg(not(pool_stdio_portable))]
#[test]
fn a_child_leads_a_session_of_its_own_if_asked_to() {
    let scene = Scene::new();
    let spec = scene.spec(&Behaviour::new().then(Step::PrintPlace).read_to_end());
    let mut child = scene.spawn_spec(spec.current_dir("/usr").session());
    let pid = child.pid();
    let place = format!("pid {pid} group {pid} session {pid} in /usr\n");
    assert_eq!(read_lines(&mut child, 1), place);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(end.survivors, common::NO_SURVIVORS);
    scene.end(Vec::new());
}

#[test]
fn a_program_that_is_being_written_is_tried_again_then_told() {
    let scene = Scene::new();
    let directory = Directory::new(&scene, "busy");
    let server = directory.path.join("server");
    fs::copy(FIXTURE, &server).unwrap();
    let writer: File = OpenOptions::new().append(true).open(&server).unwrap();
    let spec = Behaviour::echo().command(&server);
    let command = scene.census.mark(spec).build().unwrap();
    let error = failed(&scene, &command);
    assert!(matches!(error, SpawnError::Busy { attempts: 6, .. }) && error.is_transient());
    drop(writer);
    let mut child = block_on(scene.children.spawn(&command)).unwrap();
    write_to(&mut child, "ping\n");
    assert_eq!(read_lines(&mut child, 1), "ping\n");
    block_on(child.terminate(Stop::Orderly));
    drop(directory);
    scene.end(Vec::new());
}

// What is handed to the owner of a child.

#[test]
fn a_child_whose_stdout_is_discarded_has_no_pipe_there() {
    let scene = Scene::new();
    let script = "echo $(readlink /proc/$$/fd/1) >&2";
    let spec = CommandSpec::new("sh").args(["-c", script]).discard_stdout();
    let mut child = scene.spawn_spec(scene.census.mark(spec));
    assert!(child.take_stdout().is_none());
    block_on(child.exited());
    assert_eq!(child.stderr_tail().text, "/dev/null\n");
    block_on(child.terminate(Stop::Orderly));
    scene.end(Vec::new());
}

#[test]
fn a_connector_refuses_a_command_whose_streams_it_cannot_use() {
    let discarded = CommandSpec::new("cat").discard_stdout();
    let handed_out = CommandSpec::new("cat").stderr(StderrPolicy::Pipe);
    let refused = [
        StdioConnector::new(discarded.clone()).err(),
        OneShotConnector::new(discarded.clone()).err(),
        JsonRpcConnector::new(discarded, Protocol::Mcp).err(),
        StdioConnector::new(handed_out.clone()).err(),
        JsonRpcConnector::new(handed_out.clone(), Protocol::Mcp).err(),
    ];
    for error in refused {
        let error = error.expect("it is refused");
        assert!(
            matches!(error, CommandError::NotForConnectors { .. }),
            "{error}"
        );
    }
    assert!(
        OneShotConnector::new(handed_out).is_ok(),
        "it collects stderr, whatever the policy"
    );
}

#[test]
fn a_signal_to_the_root_reaches_nothing_that_it_started() {
    let scene = Scene::new();
    // The other shell is ended by the signal if it gets it, and then says nothing.
    let script =
        "sh -c 'read -r line; echo $line' <&3 & trap 'echo root' USR1; echo ready; wait; wait";
    let command = ["-c", "exec 3<&0; eval \"$1\"", "sh", script];
    let mut child = scene.spawn_spec(scene.census.mark(CommandSpec::new("sh").args(command)));
    assert_eq!(read_lines(&mut child, 1), "ready\n");
    child.signal_root(Signal::User1).expect("it lives");
    assert_eq!(read_lines(&mut child, 1), "root\n");
    write_to(&mut child, "other\n");
    assert_eq!(read_lines(&mut child, 1), "other\n");
    let (exit, end) = (block_on(child.exited()), child.signal_root(Signal::User1));
    assert!(exit.status().is_some_and(|status| status.success()));
    assert!(matches!(end, Err(SignalError::Gone)));
    block_on(child.terminate(Stop::Force));
    scene.end(Vec::new());
}
