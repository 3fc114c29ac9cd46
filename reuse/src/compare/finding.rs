//! What a child turned out to be, if it cannot be measured, and what to do about it.
//!
//! The texts name no process ids and no times, so that the same child gets the same text.

use std::fmt;
use std::process::ExitCode;

use pool_core::{AcquireError, ConnectError};
use pool_stdio::{CommandError, Exit, RpcError, StderrTail, StdioError};

/// Why a command was not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It cannot be started.
    NotStarted(String),
    /// The message is none that this framing can carry.
    BadRequest(String),
    /// It ended before there was an answer; what is known of its end.
    NoAnswer(String),
    /// It answered one request and ended.
    EndsAfterOne,
    /// It answers when its input ends, not before.
    AnswersAtEnd,
    /// It said nothing in the time it had.
    Silent,
    /// It said something that is no answer.
    Junk(String),
    /// It answered well when it was looked at, and then this, when it was asked for long by many.
    Later(Box<Self>),
}

impl Finding {
    /// What the program exits with. Two is left to a command line that is not understood.
    #[must_use]
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BadRequest(_) => 2,
            Self::NotStarted(_) => 3,
            Self::EndsAfterOne | Self::AnswersAtEnd => 4,
            Self::NoAnswer(_) => 5,
            Self::Silent => 6,
            Self::Junk(_) => 7,
            Self::Later(what) => return what.exit_code(),
        })
    }

    /// What is said of a child that had answered before.
    #[must_use]
    pub(super) fn later(self) -> Self {
        Self::Later(Box::new(self))
    }

    /// What an error of the process layer says about a child.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are rare, and speak for themselves"
    )]
    pub(super) fn of(error: &StdioError) -> Self {
        match error {
            StdioError::Exited { report } => Self::NoAnswer(end_of(report.exit, &report.stderr)),
            StdioError::OutputClosed { .. } => Self::NoAnswer("it closed its stdout".to_owned()),
            StdioError::InputClosed { .. } => Self::NoAnswer("it closed its stdin".to_owned()),
            StdioError::TimedOut { report, .. } if report.partial_bytes == 0 => Self::Silent,
            StdioError::TimedOut { report, .. } => {
                Self::Junk(format!("no whole message, but this: {}", report.partial))
            }
            StdioError::Decode { source, .. } => Self::Junk(source.to_string()),
            StdioError::StrayOutput { report } => {
                Self::Junk(format!("it spoke unasked: {}", report.partial))
            }
            StdioError::Encode { source, .. } => Self::BadRequest(source.to_string()),
            StdioError::Spawn { source } => Self::NotStarted(chain(source)),
            _ => Self::NoAnswer(chain(error)),
        }
    }

    /// The same of one that was asked by many at once.
    #[must_use]
    pub(super) fn of_rpc(error: &RpcError) -> Self {
        Self::NoAnswer(match error.report() {
            Some(report) => end_of(report.exit, &report.stderr),
            None => chain(error),
        })
    }

    /// What was found when a pool could not lend.
    #[must_use]
    pub(super) fn of_acquire(error: &AcquireError) -> Self {
        Self::NotStarted(chain(error))
    }

    /// What was found when a child could not be opened.
    #[must_use]
    pub(super) fn of_connect(error: &ConnectError) -> Self {
        let source = std::error::Error::source(error);
        source
            .and_then(|source| source.downcast_ref::<StdioError>())
            .map_or_else(|| Self::NotStarted(chain(error)), Self::of)
    }

    /// It spoke before it was asked.
    #[must_use]
    pub(super) fn unasked(what: &[u8]) -> Self {
        Self::Junk(format!("it spoke unasked: {}", beginning(what)))
    }

    /// It spoke more than it was asked.
    #[must_use]
    pub(super) fn talkative(what: &[u8]) -> Self {
        let what = beginning(what);
        Self::Junk(format!("after its answer came one more message: {what}"))
    }
}

impl From<CommandError> for Finding {
    fn from(error: CommandError) -> Self {
        // Where a name was looked for is the whole of PATH: too long to be read.
        Self::NotStarted(if let CommandError::NotFound { program, .. } = &error {
            format!(
                "there is no program {}\ncheck: is it spelt like this? is it on the PATH?",
                program.display()
            )
        } else {
            chain(&error)
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => write!(f, "the command cannot be started: {why}"),
            Self::BadRequest(why) => {
                write!(f, "the request cannot be sent with this framing: {why}")
            }
            Self::NoAnswer(how) => write!(
                f,
                "the command gave no answer: {how}\n\
                 check: does it run by hand? does it need other arguments to serve on stdin?"
            ),
            Self::EndsAfterOne => f.write_str("the command ends after one request"),
            Self::AnswersAtEnd => f.write_str("the command answers when its input ends"),
            Self::Silent => f.write_str(
                "the command printed nothing\n\
                 check: is --framing what it reads? is --request something it answers? does it \
                 flush its output after each answer?\n       does it need longer than --patience?",
            ),
            Self::Junk(what) => write!(
                f,
                "the command wrote something that is no answer: {what}\n\
                 check: is --framing what it writes? does it log to stdout instead of stderr?\n       \
                 if it greets, StdioConnector::handshake reads that; if its answers have several \
                 messages, Request::until does"
            ),
            Self::Later(what) => write!(
                f,
                "the command answered at first, and then, asked by many for a while: {}\n\
                 check: is --patience enough for --concurrency of them at once? can it serve for long?",
                what.short()
            ),
        }
    }
}

impl Finding {
    /// What was seen, without advice.
    fn short(&self) -> &str {
        match self {
            Self::NotStarted(what)
            | Self::BadRequest(what)
            | Self::NoAnswer(what)
            | Self::Junk(what) => what,
            Self::EndsAfterOne => "it ended",
            Self::AnswersAtEnd | Self::Silent => "no answer within --patience",
            Self::Later(what) => what.short(),
        }
    }
}

/// How a message begins, as text that stays on its line.
pub(super) fn beginning(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let begins: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if begins.len() < text.len() {
        " ..."
    } else {
        ""
    };
    format!("{begins:?}{more}")
}

fn end_of(exit: Option<Exit>, stderr: &StderrTail) -> String {
    let exit = exit.map_or_else(|| "it ended".to_owned(), |exit| exit.to_string());
    match stderr.text.trim_end().lines().last() {
        Some(last) => format!("{exit}, stderr ends with: {last}"),
        None => exit,
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

const SHOWN_CHARS: usize = 60;
