//! What the tests of the process layer have in common.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each binary uses a part of it, and the place of a panic shows what is wrong"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use pool_stdio::{Child, Children, CommandSpec, CountFailure, LadderTimes, Survivors};
use pool_testkit::census::Census;
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::{Beacon, OUTER_DEADLINE, Sighting, block_on, is_readable_within};
use pool_tests::ended_host::HANG;

/// The fixture program.
pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");

/// The program whose scenes are in `pool_tests::host`.
pub(crate) const HOST: &str = env!("CARGO_BIN_EXE_pool-host");

/// What is known at the end where all have gone.
pub(crate) const NO_SURVIVORS: Survivors = if cfg!(pool_stdio_portable) {
    Survivors::Unknown(CountFailure::Unsupported)
} else {
    Survivors::Known(0)
};

/// The grace of a rung that is not meant to end the child.
pub(crate) const BRIEF: Duration = Duration::from_millis(20);
/// The grace of the rung that is meant to end the child: the child ends long before it is over.
pub(crate) const AMPLE: Duration = OUTER_DEADLINE;

/// How often a scene is played where the machine may be late.
const PLAYS_MAX: usize = 5;

/// One test: the children that it starts, their beacon, and the census.
pub(crate) struct Scene {
    pub(crate) children: Children,
    pub(crate) beacon: Beacon,
    pub(crate) census: Census,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let census = Census::begin();
        Self {
            children: Children::new(),
            beacon: Beacon::new().unwrap(),
            census,
        }
    }

    /// A behaviour that tells the beacon when it begins.
    pub(crate) fn actor(&self, tag: &str) -> Behaviour {
        Behaviour::new().announce(self.beacon.path(), tag)
    }

    /// A behaviour that tells the beacon once it ignores SIGTERM.
    pub(crate) fn deaf(&self, tag: &str) -> Behaviour {
        Behaviour::new()
            .then(Step::IgnoreTerminate)
            .announce(self.beacon.path(), tag)
    }

    /// A behaviour that tells the beacon once it has left the process group.
    pub(crate) fn away(&self, tag: &str) -> Behaviour {
        Behaviour::new()
            .then(Step::LeaveSession)
            .announce(self.beacon.path(), tag)
    }

    /// A behaviour that tells the beacon once it handles SIGTERM.
    pub(crate) fn handler(&self, tag: &str, then: Behaviour) -> Behaviour {
        Behaviour::new()
            .then(Step::OnTerminate(then))
            .announce(self.beacon.path(), tag)
    }

    pub(crate) fn spec(&self, behaviour: &Behaviour) -> CommandSpec {
        self.census.mark(behaviour.command(FIXTURE))
    }

    pub(crate) fn spawn(&self, behaviour: &Behaviour) -> Child {
        self.spawn_spec(self.spec(behaviour))
    }

    pub(crate) fn spawn_spec(&self, spec: CommandSpec) -> Child {
        block_on(self.children.spawn(&spec.build().unwrap())).unwrap()
    }

    /// Drops the sightings, and checks that nothing is left.
    #[track_caller]
    pub(crate) fn end(self, seen: Vec<Sighting>) {
        let Self {
            children,
            beacon,
            census,
        } = self;
        block_on(children.emptied());
        drop((beacon, seen));
        census.assert_clean();
    }
}

/// Ladder times with these graces after the end of input and after SIGTERM.
pub(crate) fn graces(eof: Duration, term: Duration) -> LadderTimes {
    let mut times = LadderTimes::default();
    times.eof_grace = eof;
    times.term_grace = term;
    times
}

/// Writes all of it to the child.
pub(crate) fn write_to(child: &mut Child, text: &str) {
    let mut stdin = File::from(child.take_stdin().unwrap());
    stdin.write_all(text.as_bytes()).unwrap();
    child.return_stdin(stdin.into(), Vec::new());
}

/// Reads from the child until this many lines or its end.
pub(crate) fn read_lines(child: &mut Child, count: usize) -> String {
    let mut stdout = File::from(child.take_stdout().unwrap());
    let text = read_lines_from(&mut stdout, count);
    child.return_stdout(stdout.into());
    text
}

/// Reads from a pipe until this many lines or its end.
pub(crate) fn read_lines_from(stdout: &mut File, count: usize) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.iter().filter(|byte| **byte == b'\n').count() < count {
        assert!(
            is_readable_within(stdout.as_fd(), OUTER_DEADLINE),
            "no line: {text:?}"
        );
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            read => text.extend(&buffer[..read]),
        }
    }
    String::from_utf8(text).unwrap()
}

/// What a scene of the host program said: names and values, in this order.
#[derive(Debug)]
pub(crate) struct Facts {
    lines: Vec<(String, String)>,
}

impl Facts {
    /// Runs a command that plays a scene.
    #[track_caller]
    pub(crate) fn of(program: &str, words: &[&str]) -> Self {
        let limit = HANG.as_secs().to_string();
        let mut command = std::process::Command::new("timeout");
        let output = command.arg(limit).arg(program).args(words).output();
        let output = output.expect("timeout is part of every system");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}{errors}");
        let lines = said.lines().filter_map(|line| line.split_once('='));
        Self {
            lines: lines
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// As [`of`](Self::of), of the first of a few plays that is good, or of the last one: a busy machine is late at
    /// times.
    #[track_caller]
    pub(crate) fn of_a_good_play(
        program: &str,
        words: &[&str],
        is_good: impl Fn(&Self) -> bool,
    ) -> Self {
        let mut facts = Self::of(program, words);
        for _ in 1..PLAYS_MAX {
            if is_good(&facts) {
                break;
            }
            facts = Self::of(program, words);
        }
        facts
    }

    /// All values of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(known, _)| known == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of this name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {self:?}");
        all[0]
    }
}

/// Whether there is a program of this name. Says so if not.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn has_program(name: &str) -> bool {
    let found = CommandSpec::new(name).build().is_ok();
    if !found {
        eprintln!("SKIPPED: this needs {name}");
    }
    found
}

/// Whether this test may make namespaces. Says so if not.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn can_make_namespaces() -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["-m", "true"])
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: this needs the right to make namespaces");
    }
    can
}
