//! How children start where the host is in an unusual state.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use pool_stdio::{Child, Command, CommandSpec, SignalError, SpawnError, Stop, Survivors};

use super::tell;
use crate::children::{OUTER_DEADLINE, block_on, is_readable_within};

/// What a child begins with.
pub(super) fn clean_start() {
    let output = |program: &str, args: &[&str]| {
        let mut child = spawn(CommandSpec::new(program).args(args.iter().copied()));
        let stdout = child.take_stdout().expect("nothing else took it");
        block_on(child.exited());
        let mut said = [0; 4096];
        let mut stdout = fs::File::from(stdout);
        let count = std::io::Read::read(&mut stdout, &mut said).expect("it has said something");
        String::from_utf8_lossy(&said[..count]).into_owned()
    };
    let signals = output("grep", &["-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    for line in signals.lines() {
        let (name, set) = line.split_once(":\t").expect("it is a line of the status");
        tell(name, set);
    }
    // One of them is the directory that it reads.
    tell(
        "descriptors",
        output("ls", &["/proc/self/fd"]).lines().collect::<Vec<_>>(),
    );
}

/// Programs that somebody else has leased: to execute one takes until the lease is given up.
pub(super) fn leased_programs() {
    let directory = std::env::temp_dir().join(format!("pool-leased-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("it is writable");
    let leased: Vec<PathBuf> = ["one", "two"].map(|name| directory.join(name)).into();
    for path in &leased {
        fs::copy("/bin/cat", path).expect("it is writable");
    }
    let lease = "for (@ARGV) { open my $file, '+<', $_ or die; fcntl($file, 1024, 1) or die $!;
        push @files, $file } $SIG{IO} = 'IGNORE'; $| = 1; print \"up\\n\"; sleep 600";
    let command = |path: &PathBuf| CommandSpec::new(path).build().expect("it is there");
    let commands: Vec<Command> = leased.iter().map(command).collect();
    let mut owner = spawn(CommandSpec::new("perl").args(["-e", lease]).args(&leased));
    let up = owner.take_stdout().expect("it is there");
    assert!(is_readable_within(up.as_fd(), OUTER_DEADLINE));

    let hang = [0; 3].map(|_| commands[0].spawn());
    let begun = now();
    block_on(spawn(CommandSpec::new("cat")).terminate(Stop::Force));
    tell("another_is_soon", begun.elapsed() < Duration::from_secs(2));
    let [first, second, third] = hang;
    tell_stalled("third", block_on(third), begun);

    let more = [0; 2].map(|_| commands[1].spawn());
    let begun = now();
    tell_stalled("another", block_on(cat().spawn()), begun);
    let begun = now();
    tell_stalled("again", block_on(cat().spawn()), begun);

    block_on(owner.terminate(Stop::Force));
    let [third, fourth] = more;
    for started in [first, second, third, fourth] {
        let child = block_on(started).expect("it starts when the lease is given up");
        tell("rung", block_on(child.terminate(Stop::Orderly)).rung);
    }
    tell("afterwards", block_on(cat().spawn()).is_ok());
    fs::remove_dir_all(directory).expect("it is ours");
}

fn tell_stalled(name: &str, result: Result<Child, SpawnError>, begun: Instant) {
    let error = result.expect_err("it cannot start");
    tell(name, error.is_transient());
    let SpawnError::Stalled { programs, .. } = error else {
        panic!("{error}")
    };
    tell("hanging", programs.len());
    tell("seconds", begun.elapsed().as_secs());
}

/// A fork of the host has handles of its children.
#[expect(unsafe_code, reason = "what a host does that forks")]
pub(super) fn fork_of_the_host() {
    let child = spawn(CommandSpec::new("cat"));
    let other = spawn(CommandSpec::new("cat"));
    // SAFETY: the child of the fork calls nothing that needs a lock of another thread.
    match unsafe { fork() }.expect("there is room for it") {
        ForkResult::Child => {
            let result = block_on(cat().spawn());
            let is_told = matches!(result, Err(SpawnError::Forked))
                && matches!(
                    other.signal(pool_stdio::Signal::Kill),
                    Err(SignalError::Refused { .. })
                );
            drop(child);
            let end = block_on(other.terminate(Stop::Force));
            std::process::exit(i32::from(!is_told || end.survivors != Survivors::Known(0)) + 10);
        }
        ForkResult::Parent { child: forked } => {
            let status = waitpid(forked, None).expect("it is our child");
            tell(
                "fork_exited_with",
                matches!(status, WaitStatus::Exited(_, 11)),
            );
            tell("is_alive", child.is_alive() && other.is_alive());
            tell("rung", block_on(child.terminate(Stop::Orderly)).rung);
        }
    }
}

/// What the first child of a program costs, with the threads and the guardian, and what a later one does. To be run by hand:
/// `docs/numbers.md` has what it said.
pub(super) fn first_start() {
    let command = cat();
    let mut micros: Vec<u128> = (0..22)
        .map(|_| {
            let begun = now();
            let child = block_on(command.spawn()).expect("it starts");
            let took = begun.elapsed().as_micros();
            block_on(child.terminate(Stop::Force));
            took
        })
        .collect();
    let first = micros.remove(0);
    micros.sort_unstable();
    tell("first_micros", first);
    tell("later_micros", micros[micros.len() / 2]);
}

fn cat() -> Command {
    CommandSpec::new("cat").build().expect("every Unix has it")
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}

#[expect(clippy::disallowed_methods, reason = "real children take real time")]
fn now() -> Instant {
    Instant::now()
}
