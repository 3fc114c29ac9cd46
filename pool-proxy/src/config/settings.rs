//! Which keys a configuration file can have, what they mean, and their defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::config_error::ConfigError;
use super::file_error::explained;
use super::size;
use super::suggestion::nearest_key;

/// A configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The address to listen on. Default `127.0.0.1:8080`: nobody else reaches it.
    pub(crate) listen: SocketAddr,
    pub(crate) http: HttpSettings,
    pub(crate) limits: LimitSettings,
    pub(crate) log: LogSettings,
    /// The principals that may ask, by name. Without any, everybody is the principal `anonymous`.
    pub(crate) tokens: BTreeMap<String, TokenSettings>,
    /// The servers, by the name that stands in their path.
    pub(crate) servers: BTreeMap<String, ServerSettings>,
}

/// What is accepted of a client, before the protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpSettings {
    /// Names that a `Host` header may have beside `localhost` and addresses. Default none: a page
    /// whose name was rebound to this address is refused.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of pages that may ask, as `https://example.com`, beside those of loopback. Default none.
    pub(crate) allowed_origins: Vec<String>,
    /// The most bytes of a body. Default 4 MiB: tool arguments are text. Worst case: this much memory
    /// for each connection.
    #[serde(deserialize_with = "size::whole")]
    pub(crate) body_bytes_max: usize,
    /// The most bytes of the replies of one batch together. Default 8 MiB. A reply beyond it becomes an error; the
    /// first one is taken however large it is. Worst case: this much memory, or one reply, for each connection.
    #[serde(deserialize_with = "size::whole")]
    pub(crate) batch_bytes_max: usize,
    /// The most bytes of the head of a request, at least 8 KiB. Default 32 KiB.
    #[serde(deserialize_with = "size::whole")]
    pub(crate) head_bytes_max: usize,
    /// How long a client may take to send the head of a request, or be idle between two. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub(crate) head_timeout: Duration,
    /// How long a client may take to send a body. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub(crate) body_timeout: Duration,
    /// How long a client may leave a reply or a stream unread while there is more of it to send. Default 30 s.
    /// Then its connection is dropped. To be kept, a slow client must take 64 KiB in this time.
    #[serde(with = "humantime_serde")]
    pub(crate) write_timeout: Duration,
    /// The most connections at a time. Default 4096. At this limit the one that has been without a request for longest is
    /// closed for the next client; if there is none, further ones wait in the backlog of the system.
    pub(crate) connections_max: usize,
}

/// Limits over all servers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    /// The most children of all servers together. Default 64: with 80 MiB each, 5 GiB.
    pub(crate) children_max: usize,
    /// How many bytes of memory all children together may occupy before no further one is started. Default none:
    /// what a machine can spare is not known here. Idle children end while it is exceeded.
    #[serde(deserialize_with = "size::optional")]
    pub(crate) memory_bytes_max: Option<u64>,
    /// The most children that are being started at a time. Default 4, because a start takes a core.
    pub(crate) starts_max: usize,
    /// The most sessions. Default 4096.
    pub(crate) sessions_max: usize,
    /// The most sessions of one principal. Default 1024.
    pub(crate) sessions_per_principal_max: usize,
    /// The most requests of one session in flight. Default 128: more than a batch has messages. Further ones get 429.
    pub(crate) requests_per_session_max: usize,
    /// The most requests of one principal in flight, with and without a session. Default 1024: a quarter of the
    /// connections that there may be. Further ones get 429.
    pub(crate) requests_per_principal_max: usize,
    /// The most `subscriptions/listen` of one principal. Default 1024. They last, so they do not count as requests in
    /// flight. Further ones get 429.
    pub(crate) listens_per_principal_max: usize,
    /// How long a session must have been without a request until it ends because another client waits for its
    /// child. Default 10 s. It ends sooner if its principal holds at least two children more than the other client's.
    #[serde(with = "humantime_serde")]
    pub(crate) session_idle_min: Duration,
    /// How long the program may take to end when it is told to, with the requests in flight and the children:
    /// these have the last 3 s of it, or half of it if that is less. Default 10 s, as container runtimes give.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_timeout: Duration,
}

/// The log, on stderr.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    /// The most lines that wait until stderr takes them. Default 4096, at about 200 bytes each. Further ones
    /// are lost, and counted.
    pub(crate) lines_max: usize,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people.
    #[default]
    Human,
    /// A JSON object.
    Json,
    /// Nothing.
    Off,
}

/// A principal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenSettings {
    /// The SHA-256 of its bearer token, as 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// The servers that it may use. Default all.
    pub(crate) servers: Option<Vec<String>>,
    /// Whether it may read `/readyz` and `/metrics` where that is not open to all. Default false.
    #[serde(default)]
    pub(crate) admin: bool,
}

/// A server that speaks MCP over stdio.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSettings {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) sharing: Sharing,
    /// Variables of its environment, beside the few that every child gets.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Further variables that it gets from this program's environment. Default none.
    #[serde(default)]
    pub(crate) env_pass: Vec<String>,
    /// Its working directory. Default: that of this program.
    #[serde(default)]
    pub(crate) directory: Option<PathBuf>,
    /// The most children of one principal. Default 16 where requests share them, which is enough for
    /// 16 slow requests at a time; otherwise `limits.children_max`.
    #[serde(default)]
    pub(crate) children_max: Option<usize>,
    /// With `sharing = "request"`, how many children of one principal are kept ready. Default 2: one for the
    /// next request, and one for the request after it, since a start takes longer than most requests.
    #[serde(default)]
    pub(crate) spare: Option<usize>,
    /// How many bytes of memory a shared child may occupy until another one takes its place. It finishes its
    /// requests. Default none.
    #[serde(default, deserialize_with = "size::optional")]
    pub(crate) memory_bytes_soft: Option<u64>,
    /// How many bytes of memory a child may occupy until it is killed, with its requests. Default none.
    #[serde(default, deserialize_with = "size::optional")]
    pub(crate) memory_bytes_max: Option<u64>,
    /// The most requests that wait for a child. Default 1024; further ones get 503.
    #[serde(default = "waiters_max")]
    pub(crate) waiters_max: usize,
    /// How long a child may take to start and to answer its first message. Default 120 s, for commands
    /// that download first.
    #[serde(default = "start_timeout", with = "humantime_serde")]
    pub(crate) start_timeout: Duration,
    /// How long a child may take to answer whether it speaks revision 2026-07-28, until it is initialized as one
    /// of an earlier revision. Default 10 s. Children of clients with sessions are not asked.
    #[serde(default = "probe_timeout", with = "humantime_serde")]
    pub(crate) probe_timeout: Duration,
    /// How long a request waits for a child until it gets 503. Default 30 s: most servers start sooner,
    /// even many at once.
    #[serde(default = "wait_timeout", with = "humantime_serde")]
    pub(crate) wait_timeout: Duration,
    /// How long a request may take. Default 60 s, as in the official clients.
    #[serde(default = "request_timeout", with = "humantime_serde")]
    pub(crate) request_timeout: Duration,
    /// Other limits for tools, by name.
    #[serde(default)]
    pub(crate) tool_timeouts: BTreeMap<String, ToolTimeout>,
    /// How long a child without requests lives, unless its session cannot do without it. Default 5 min.
    #[serde(default = "idle_timeout", with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// How long a list is kept, unless it changes, so that clients see it while no child
    /// lives; and how long a client of revision 2026-07-28 may keep it. Default 60 s; 0 keeps none.
    #[serde(default = "lists_ttl", with = "humantime_serde")]
    pub(crate) lists_ttl: Duration,
    /// How much of its lists is kept for one key. Default 1 MiB, which is ten times a long list.
    #[serde(default = "lists_bytes_max", deserialize_with = "size::whole")]
    pub(crate) lists_bytes_max: usize,
    /// Whether tools that the server calls read-only or idempotent are called again when a child that may
    /// have executed them died. Default false: the server may be wrong.
    #[serde(default)]
    pub(crate) trust_annotations: bool,
    /// How long a session without requests and streams lives. Default 30 min.
    #[serde(default = "session_idle_timeout", with = "humantime_serde")]
    pub(crate) session_idle_timeout: Duration,
}

/// How long a tool may take.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct ToolTimeout(#[serde(with = "humantime_serde")] pub(crate) Duration);

/// Which clients may use a child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sharing {
    /// One session: each has a child of its own, from its first call to its end.
    #[default]
    Session,
    /// All clients of one principal at once. For servers that keep nothing between requests that
    /// another client may not see.
    Shared,
    /// All clients of all principals at once. For servers that keep nothing between requests.
    Stateless,
    /// One request: each has a fresh child, which was started before it came. For servers that nothing may be
    /// left in.
    Request,
}

impl Settings {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        toml::from_str(&text).map_err(|error| {
            let nearest = nearest_key(error.message()).map(str::to_owned);
            let before = error.span().and_then(|span| text.get(..span.start));
            let before = before.map_or(0, |before| before.matches('\n').count());
            let line = text.lines().nth(before).unwrap_or_default();
            ConfigError::Malformed {
                path: path.to_owned(),
                line: before + 1,
                message: explained(line, error.message()),
                nearest,
            }
        })
    }
}

impl ServerSettings {
    /// All defaults.
    pub(crate) fn of_command(command: Vec<String>) -> Self {
        Self {
            command,
            sharing: Sharing::default(),
            env: BTreeMap::new(),
            env_pass: Vec::new(),
            directory: None,
            children_max: None,
            spare: None,
            memory_bytes_soft: None,
            memory_bytes_max: None,
            waiters_max: waiters_max(),
            start_timeout: start_timeout(),
            probe_timeout: probe_timeout(),
            wait_timeout: wait_timeout(),
            request_timeout: request_timeout(),
            tool_timeouts: BTreeMap::new(),
            idle_timeout: idle_timeout(),
            lists_ttl: lists_ttl(),
            lists_bytes_max: lists_bytes_max(),
            trust_annotations: false,
            session_idle_timeout: session_idle_timeout(),
        }
    }
}

impl ServerSettings {
    /// How many children a key may have whose children serve more than one session.
    pub(crate) fn children_of_key_max(&self) -> usize {
        self.children_max.unwrap_or(CHILDREN_MAX)
    }

    /// How many children of a key are kept ready.
    pub(crate) fn spare_of_key(&self) -> usize {
        self.spare.unwrap_or(SPARE).min(self.children_of_key_max())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            http: HttpSettings::default(),
            limits: LimitSettings::default(),
            log: LogSettings::default(),
            tokens: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_bytes_max: 4 << 20,
            batch_bytes_max: 8 << 20,
            head_bytes_max: 32 << 10,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            connections_max: 4096,
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            lines_max: 4096,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            children_max: 64,
            memory_bytes_max: None,
            starts_max: 4,
            sessions_max: 4096,
            sessions_per_principal_max: 1024,
            requests_per_session_max: 128,
            requests_per_principal_max: 1024,
            listens_per_principal_max: 1024,
            session_idle_min: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

const fn waiters_max() -> usize {
    1024
}

const fn start_timeout() -> Duration {
    Duration::from_secs(120)
}

const fn probe_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn wait_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn request_timeout() -> Duration {
    Duration::from_secs(60)
}

const fn idle_timeout() -> Duration {
    Duration::from_secs(5 * 60)
}

const fn lists_ttl() -> Duration {
    Duration::from_secs(60)
}

const fn lists_bytes_max() -> usize {
    1 << 20
}

const fn session_idle_timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

/// Of one key, unless it is set.
const CHILDREN_MAX: usize = 16;
const SPARE: usize = 2;
