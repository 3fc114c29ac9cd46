//! Why a command cannot be compared, and what to do about it.
//!
//! The texts contain no process ids and no times: the same problem always reads the same.

use std::fmt;
use std::process::ExitCode;

use pool_core::{AcquireError, ConnectError};
use pool_stdio::{CommandError, Exit, RpcError, StderrTail, StdioError};

/// Why a command was not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// It cannot be started.
    NotStarted(String),
    /// This framing cannot carry the request.
    BadRequest(String),
    /// It ended before it answered; with what is known of its end.
    NoAnswer(String),
    /// It answered one request and ended.
    EndsAfterOne,
    /// It answers when its input ends, not before.
    AnswersAtEnd,
    /// It printed nothing in the time it had.
    Silent,
    /// It wrote something that is not an answer.
    Junk(String),
    /// It answered at first, and had this problem when many callers asked it for a while.
    Later(Box<Self>),
}

impl Problem {
    /// The exit code of the program. Two also means a wrong command line.
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

    /// The same problem of a child that has answered before.
    #[must_use]
    pub(super) fn later(self) -> Self {
        Self::Later(Box::new(self))
    }

    /// The problem that an error of a connection stands for.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other errors are rare and explain themselves"
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
            StdioError::StrayOutput { report } => Self::Junk(format!(
                "it wrote this before it was asked: {}",
                report.partial
            )),
            StdioError::Encode { source, .. } => Self::BadRequest(source.to_string()),
            StdioError::Spawn { source } => Self::NotStarted(chain(source)),
            _ => Self::NoAnswer(chain(error)),
        }
    }

    /// The problem that an error of a multiplexed connection stands for.
    #[must_use]
    pub(super) fn of_rpc(error: &RpcError) -> Self {
        Self::NoAnswer(match error.report() {
            Some(report) => end_of(report.exit, &report.stderr),
            None => chain(error),
        })
    }

    /// The problem of a pool that could not lend.
    #[must_use]
    pub(super) fn of_acquire(error: &AcquireError) -> Self {
        Self::NotStarted(chain(error))
    }

    /// The problem of a child that could not be opened.
    #[must_use]
    pub(super) fn of_connect(error: &ConnectError) -> Self {
        let source = std::error::Error::source(error);
        source
            .and_then(|source| source.downcast_ref::<StdioError>())
            .map_or_else(|| Self::NotStarted(chain(error)), Self::of)
    }

    /// It wrote something before it was asked.
    #[must_use]
    pub(super) fn unasked(what: &[u8]) -> Self {
        Self::Junk(format!(
            "it wrote this before it was asked: {}",
            beginning(what)
        ))
    }

    /// It wrote more than one answer.
    #[must_use]
    pub(super) fn talkative(what: &[u8]) -> Self {
        let what = beginning(what);
        Self::Junk(format!("it wrote this after its answer: {what}"))
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        // The error lists every folder of PATH: too long to read.
        Self::NotStarted(if let CommandError::NotFound { program, .. } = &error {
            format!(
                "there is no program {}\ncheck: {}",
                program.display(),
                if program.to_string_lossy().contains(' ') {
                    "are the command and its arguments separate words, without quotes around all?"
                } else {
                    "is it spelt like this? is it on the PATH?"
                }
            )
        } else {
            chain(&error)
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => write!(f, "the command cannot be started: {why}"),
            Self::BadRequest(why) => {
                write!(f, "the request cannot be sent with this framing: {why}")
            }
            Self::NoAnswer(how) => write!(
                f,
                "the command gave no answer: {how}\n\
                 check: does it run by hand? does it need other arguments to read requests from stdin?"
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
                "the command wrote something that is not an answer: {what}\n\
                 check: is --framing what it writes? does it log to stdout instead of stderr?\n       \
                 StdioConnector in pool-stdio can read a greeting (handshake) and answers of \
                 several messages (Request::until), this program cannot"
            ),
            Self::Later(what) => write!(
                f,
                "the command answered at first, but failed when many callers asked it for a while: {}\n\
                 check: is --patience enough when --concurrency of them run at once? can it answer many requests?",
                what.short()
            ),
        }
    }
}

impl Problem {
    /// What happened, without advice.
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

/// The start of a message, as text on one line.
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
