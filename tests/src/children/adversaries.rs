//! The misbehaving children that a process layer must be able to end.
//!
//! One kind is missing, since no program can play it: a process that SIGKILL does not end. The
//! tests of the ladder alone play that one.

use std::path::Path;
use std::time::Duration;

use pool_testkit::fixture::{Behaviour, Replies, Step, Stream};

use super::trees::thirty;

/// One kind of misbehaviour.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adversary {
    /// The misbehaviour in a few words; it names the adversary in failures.
    pub what: &'static str,
    /// What its root does.
    pub behaviour: Behaviour,
    /// How many of its processes announce themselves.
    pub announced: usize,
    /// What it takes to end the last of its processes.
    pub ends: Ends,
    /// Whether one of its processes leaves the process group.
    pub leaves_group: bool,
}

/// What ends the last process of a tree, if its root's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// Nothing: it ends by itself.
    ByItself,
    /// The end of its input.
    AtEof,
    /// SIGTERM.
    AtTerm,
    /// SIGKILL.
    AtKill,
}

/// All adversaries. Each process that stays for a while announces itself to the beacon at `socket`.
#[must_use]
pub fn adversaries(socket: &Path) -> Vec<Adversary> {
    let mut all = silent_ones(socket);
    all.extend(deaf_ones(socket));
    all.extend(parents(socket));
    all.extend(speakers(socket));
    all.extend(answerers(socket));
    all
}

fn root(socket: &Path) -> Behaviour {
    Behaviour::new().announce(socket, "root")
}

fn leaf(socket: &Path) -> Behaviour {
    Behaviour::new().announce(socket, "leaf")
}

/// Announces itself once it ignores SIGTERM.
fn deaf(socket: &Path, tag: &str) -> Behaviour {
    Behaviour::new()
        .then(Step::IgnoreTerminate)
        .announce(socket, tag)
}

fn one(what: &'static str, ends: Ends, behaviour: Behaviour) -> Adversary {
    Adversary {
        what,
        behaviour,
        announced: 1,
        ends,
        leaves_group: false,
    }
}

fn two(what: &'static str, ends: Ends, behaviour: Behaviour) -> Adversary {
    Adversary {
        what,
        behaviour,
        announced: 2,
        ends,
        leaves_group: false,
    }
}

fn leaves_group(adversary: Adversary) -> Adversary {
    Adversary {
        leaves_group: true,
        ..adversary
    }
}

fn silent_ones(socket: &Path) -> Vec<Adversary> {
    let root = || root(socket);
    vec![
        one("never reads stdin", Ends::AtTerm, root().hang()),
        one("never writes", Ends::AtEof, root().read_to_end()),
        one(
            "floods stdout",
            Ends::AtTerm,
            root()
                .then(Step::FloodWithoutNewline(Stream::Stdout))
                .hang(),
        ),
        one(
            "floods stderr",
            Ends::AtEof,
            root().then(flood(Stream::Stderr)).read_to_end(),
        ),
        one(
            "closes stdout, lives",
            Ends::AtTerm,
            root().then(Step::Close(Stream::Stdout)).hang(),
        ),
        one(
            "closes stdin, lives",
            Ends::AtTerm,
            root().then(Step::Close(Stream::Stdin)).hang(),
        ),
        one(
            "kills itself",
            Ends::ByItself,
            root().then(Step::Raise(SIGKILL)),
        ),
    ]
}

fn deaf_ones(socket: &Path) -> Vec<Adversary> {
    let root = || root(socket);
    let deaf_leaf = || deaf(socket, "leaf");
    vec![
        one("ignores SIGTERM", Ends::AtKill, deaf(socket, "root").hang()),
        one(
            "stops itself",
            Ends::AtTerm,
            root().then(Step::Raise(SIGSTOP)).hang(),
        ),
        // Its leaf is there only after SIGTERM.
        one("forks at SIGTERM", Ends::AtKill, {
            Behaviour::new()
                .then(Step::OnTerminate(
                    Behaviour::new().start(deaf_leaf().hang()),
                ))
                .announce(socket, "root")
                .hang()
        }),
        two("leaf without descriptors", Ends::AtKill, {
            let leaf = deaf_leaf().then(Step::CloseAll).hang();
            root().start(leaf).read_to_end()
        }),
    ]
}

fn parents(socket: &Path) -> Vec<Adversary> {
    let (root, leaf) = (|| root(socket), || leaf(socket));
    let chatty = leaf().then(Step::PrintEvery {
        gap: Duration::from_millis(50),
        text: b"still here\n".to_vec(),
    });
    let away = || {
        Behaviour::new()
            .then(Step::LeaveSession)
            .announce(socket, "leaf")
    };
    let many = root().then(thirty(leaf().hang())).hang();
    vec![
        two(
            "leaf holds the pipe",
            Ends::AtTerm,
            root().start(leaf().hang()).read_to_end(),
        ),
        two(
            "leaf holds the pipe, prints",
            Ends::AtTerm,
            root().start(chatty).read_to_end(),
        ),
        leaves_group(two("leaf leaves by setsid", Ends::AtTerm, {
            root().start(away().hang()).read_to_end()
        })),
        leaves_group(two(
            "leaf leaves by setsid and a double fork",
            Ends::AtTerm,
            {
                let launcher = Behaviour::new().then(Step::LeaveSession);
                let launcher = launcher.start(leaf().hang()).exit(0);
                root().start(launcher).read_to_end()
            },
        )),
        two(
            "launcher exits, leaf stays",
            Ends::AtTerm,
            root().start(leaf().hang()).exit(0),
        ),
        one("its child writes to stdout", Ends::AtEof, {
            root().start(Behaviour::new().print("noise\n")).then_echo()
        }),
        Adversary {
            what: "starts 30 children",
            behaviour: many,
            announced: 31,
            ends: Ends::AtTerm,
            leaves_group: false,
        },
        one("starts children for ever", Ends::AtTerm, {
            root().then(Step::StartForEver(Behaviour::new()))
        }),
    ]
}

fn speakers(socket: &Path) -> Vec<Adversary> {
    let root = || root(socket);
    let eof = |what, behaviour: Behaviour| one(what, Ends::AtEof, behaviour);
    let gone = |what, behaviour: Behaviour| one(what, Ends::ByItself, behaviour);
    vec![
        gone(
            "exits in the middle of a frame",
            root().print("{\"half").exit(0),
        ),
        gone(
            "exits before the handshake",
            root().print_error("no config\n").exit(7),
        ),
        eof("exits during the handshake", root().read_lines(1).exit(7)),
        eof(
            "exits after the handshake",
            root().read_lines(1).print("hello\n").exit(7),
        ),
        eof("exits after its first reply", root().then_echo_lines(1)),
        eof("junk lines, some valid JSON", {
            root()
                .print("log: ready\n\"x\"\n{}\n123\n")
                .then(Step::Reply(Replies::InOrder))
        }),
        eof(
            "a line without an end",
            root().print([b'x'; 10_000]).then_echo(),
        ),
        eof(
            "forged length",
            root()
                .print("Content-Length: 999999999\r\n\r\n{}")
                .then_echo(),
        ),
        eof("invalid UTF-8, BOM, CRLF, byte by byte", {
            root()
                .then(Step::PrintBytewise(
                    b"\xef\xbb\xbf{\"a\":\"\xff\"}\r\n".to_vec(),
                ))
                .then_echo()
        }),
    ]
}

fn answerers(socket: &Path) -> Vec<Adversary> {
    let root = || root(socket);
    let eof = |what, behaviour: Behaviour| one(what, Ends::AtEof, behaviour);
    vec![
        eof("answers twice", root().then(Step::Reply(Replies::Twice))),
        eof(
            "answers what nobody asked",
            root().then(Step::Reply(Replies::Unknown)),
        ),
        eof(
            "answers out of order",
            root().then(Step::Reply(Replies::Swapped)),
        ),
        eof("answers late", {
            root()
                .then(Step::Sleep(Duration::from_millis(50)))
                .then(Step::Reply(Replies::InOrder))
        }),
        eof(
            "writes 10 MB, then exits",
            root().then(flood(Stream::Stdout)).exit(3),
        ),
    ]
}

/// Ten megabytes of short lines.
const fn flood(stream: Stream) -> Step {
    let bytes = 10_000_000;
    Step::Flood { stream, bytes }
}

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
