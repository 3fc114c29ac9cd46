//! Why the program does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why the program does not start.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    // Without the line itself, which may hold a secret.
    #[error("{}, line {line}: {message}{}", path.display(), did_you_mean(nearest.as_deref()))]
    Malformed {
        path: PathBuf,
        line: usize,
        message: String,
        nearest: Option<String>,
    },
    #[error("no server: give a command after `--`, or a configuration file with [servers.NAME]")]
    NoServer,
    #[error("the configuration has a server named `default`, and so has the command line")]
    TwoDefaults,
    #[error(
        "--sharing is for the COMMAND of the command line; in a file it is `sharing` of [servers.NAME]"
    )]
    SharingWithoutCommand,
    #[error("{key}: `{name}` {reason}")]
    Name {
        key: &'static str,
        name: String,
        reason: &'static str,
    },
    #[error("server `{name}`: {reason}")]
    Server { name: String, reason: String },
    #[error("token `{name}`: {reason}")]
    Token { name: String, reason: String },
    #[error("{key} must be longer than 0s")]
    NoTime { key: &'static str },
    #[error("{key} must be at least {min}")]
    TooSmall { key: &'static str, min: usize },
    #[error("{key} must be at most {max}")]
    TooLarge { key: &'static str, max: usize },
    #[error(
        "{listen} is not loopback and there are no [tokens]: everybody who reaches it could use the \
         servers. Give each client a token, [tokens.NAME] in the configuration file, or add --without-tokens if \
         that is meant"
    )]
    Open { listen: SocketAddr },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |key| format!("\ndid you mean `{key}`?"))
}
