//! Which settings can work together. What cannot is refused before anything is started.

use std::collections::BTreeMap;
use std::path::Path;

use super::config_error::ConfigError;
use super::settings::{HttpSettings, ServerSettings, Settings, Sharing, TokenSettings};

/// Settings that were checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    /// Whether the first thing that is printed is how to try it out.
    pub(crate) shows_curl: bool,
}

impl Config {
    /// Checks the settings. `without_tokens`: the user has said twice that everybody may ask.
    pub(crate) fn check(settings: Settings, without_tokens: bool) -> Result<Self, ConfigError> {
        if settings.servers.is_empty() {
            return Err(ConfigError::NoServer);
        }
        let listen = settings.listen;
        if !listen.ip().is_loopback() && settings.tokens.is_empty() && !without_tokens {
            return Err(ConfigError::Open { listen });
        }
        check_limits(&settings)?;
        check_names(&settings.http)?;
        for (name, server) in &settings.servers {
            let refuse = |reason: &str| ConfigError::Server {
                name: name.clone(),
                reason: reason.to_owned(),
            };
            if !is_name(name) {
                return Err(refuse("a name has letters, digits, `-`, `_` and `.` only"));
            }
            check_command(&server.command).map_err(|reason| refuse(&reason))?;
            if server.children_max == Some(0) {
                return Err(refuse("children_max must be at least 1"));
            }
            if server.children_max > Some(settings.limits.children_max) {
                let max = settings.limits.children_max;
                let reason =
                    format!("children_max is more than limits.children_max, which is {max}");
                return Err(refuse(&reason));
            }
            let tools = server.tool_timeouts.iter();
            if let Some((tool, _)) = tools.into_iter().find(|(_, limit)| limit.0.is_zero()) {
                return Err(refuse(&format!(
                    "tool_timeouts.{tool} must be longer than 0s"
                )));
            }
            check_memory(server).map_err(|reason| refuse(&reason))?;
            check_spare(server).map_err(|reason| refuse(&reason))?;
            let times = [
                ("start_timeout", server.start_timeout),
                ("wait_timeout", server.wait_timeout),
                ("request_timeout", server.request_timeout),
                ("idle_timeout", server.idle_timeout),
                ("session_idle_timeout", server.session_idle_timeout),
            ];
            if let Some((key, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
                return Err(refuse(&format!("{key} must be longer than 0s")));
            }
            let names = server.env.keys().chain(&server.env_pass);
            if let Some(bad) = names.into_iter().find(|name| !is_variable(name)) {
                return Err(refuse(&format!("`{bad}` is not the name of a variable")));
            }
        }
        let mut owners = BTreeMap::new();
        for (name, token) in &settings.tokens {
            check_token(name, token, &settings)?;
            // A client with the token would be one of the two, and the order of their names would say which.
            if let Some(other) = owners.insert(token.sha256.to_ascii_lowercase(), name) {
                return Err(ConfigError::Token {
                    name: name.clone(),
                    reason: format!("it has the same sha256 as token `{other}`"),
                });
            }
        }
        Ok(Self {
            settings,
            shows_curl: false,
        })
    }
}

/// A program that is none, as far as its name says.
fn check_command(command: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = command else {
        return Err("command is empty".to_owned());
    };
    if program.contains(char::is_whitespace) {
        match Path::new(program).try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(format!("command has several words in one: {SEVERAL_WORDS}")),
            Err(error) => {
                return Err(format!(
                    "command: its program could not be looked for: {error}. If it is several words in one: {SEVERAL_WORDS}"
                ));
            }
        }
    }
    match arguments.is_empty() && program.ends_with(".toml") {
        true => Err("command is a configuration file: pool-proxy serve --config FILE".to_owned()),
        false => Ok(()),
    }
}

fn check_memory(server: &ServerSettings) -> Result<(), String> {
    let (soft, max) = (server.memory_bytes_soft, server.memory_bytes_max);
    if soft == Some(0) || max == Some(0) {
        return Err("memory_bytes_soft and memory_bytes_max must be at least 1".to_owned());
    }
    match soft.zip(max).is_some_and(|(soft, max)| soft > max) {
        true => Err("memory_bytes_soft is more than memory_bytes_max".to_owned()),
        false => Ok(()),
    }
}

fn check_spare(server: &ServerSettings) -> Result<(), String> {
    let Some(spare) = server.spare else {
        return Ok(());
    };
    let max = server.children_of_key_max();
    if server.sharing != Sharing::Request {
        return Err("spare is for sharing = \"request\" only".to_owned());
    }
    match spare > max {
        true => Err(format!("spare is more than children_max, which is {max}")),
        false => Ok(()),
    }
}

fn check_limits(settings: &Settings) -> Result<(), ConfigError> {
    let (http, limits) = (&settings.http, &settings.limits);
    let least = [
        ("http.body_bytes_max", http.body_bytes_max, 1024),
        ("http.batch_bytes_max", http.batch_bytes_max, 1024),
        ("http.head_bytes_max", http.head_bytes_max, 8 << 10),
        ("http.connections_max", http.connections_max, 1),
        ("log.lines_max", settings.log.lines_max, 1),
        ("limits.children_max", limits.children_max, 1),
        ("limits.starts_max", limits.starts_max, 1),
        ("limits.sessions_max", limits.sessions_max, 1),
        (
            "limits.sessions_per_principal_max",
            limits.sessions_per_principal_max,
            1,
        ),
        (
            "limits.requests_per_session_max",
            limits.requests_per_session_max,
            1,
        ),
        (
            "limits.requests_per_principal_max",
            limits.requests_per_principal_max,
            1,
        ),
    ];
    if let Some((key, _, min)) = least.into_iter().find(|(_, value, min)| value < min) {
        return Err(ConfigError::TooSmall { key, min });
    }
    if limits.memory_bytes_max == Some(0) {
        let key = "limits.memory_bytes_max";
        return Err(ConfigError::TooSmall { key, min: 1 });
    }
    let times = [
        ("http.head_timeout", http.head_timeout),
        ("http.body_timeout", http.body_timeout),
        ("http.write_timeout", http.write_timeout),
        ("limits.shutdown_timeout", limits.shutdown_timeout),
    ];
    if let Some((key, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
        return Err(ConfigError::NoTime { key });
    }
    let max = tokio::sync::Semaphore::MAX_PERMITS;
    match http.connections_max > max {
        true => Err(ConfigError::TooLarge {
            key: "http.connections_max",
            max,
        }),
        false => Ok(()),
    }
}

/// A name that can never be met would refuse those for whom it was written.
fn check_names(http: &HttpSettings) -> Result<(), ConfigError> {
    let refuse = |key, name: &String, reason| {
        let name = name.clone();
        Err(ConfigError::Name { key, name, reason })
    };
    let is_host = |name: &str| !name.is_empty() && !name.contains([':', '/', '*', ' ']);
    if let Some(name) = http.allowed_hosts.iter().find(|name| !is_host(name)) {
        let reason = "is not the bare name of a host: leave out the scheme, the port, the path and any wildcard";
        return refuse("http.allowed_hosts", name, reason);
    }
    let is_origin = |origin: &str| {
        let parts = origin.split_once("://");
        parts.is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*', ' '])
        })
    };
    match http.allowed_origins.iter().find(|name| !is_origin(name)) {
        Some(name) => {
            let reason = "is not an origin: write it like `https://example.com`, without a path or a wildcard";
            refuse("http.allowed_origins", name, reason)
        }
        None => Ok(()),
    }
}

fn check_token(name: &str, token: &TokenSettings, settings: &Settings) -> Result<(), ConfigError> {
    let refuse = |reason: String| {
        let name = name.to_owned();
        Err(ConfigError::Token { name, reason })
    };
    let is_hex = token.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    if token.sha256.len() != 64 || !is_hex {
        // Not quoted: it may be the token itself.
        return refuse(
            "sha256 must have 64 hexadecimal digits: printf %s TOKEN | sha256sum | cut -c1-64"
                .into(),
        );
    }
    if token.sha256.eq_ignore_ascii_case(SHA256_OF_NOTHING) {
        return refuse(
            "sha256 is the hash of an empty token: nothing was given to sha256sum".into(),
        );
    }
    if token.servers.as_ref().is_some_and(Vec::is_empty) {
        return refuse("servers names none; leave it out for all".into());
    }
    let named = token.servers.iter().flatten();
    match named
        .into_iter()
        .find(|name| !settings.servers.contains_key(*name))
    {
        Some(unknown) => refuse(format!("there is no server `{unknown}`")),
        None => Ok(()),
    }
}

const SEVERAL_WORDS: &str = "each is a string of its own, as in [\"python3\", \"server.py\"]";
const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Whether it can stand in a path as it is.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(is_plain)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        let settings = toml::from_str(text).map_err(|error| error.to_string())?;
        Config::check(settings, false).map_err(|error| error.to_string())
    }

    const SERVER: &str = "[servers.a]\ncommand = ['cat']\n";

    #[test]
    fn only_loopback_is_served_without_tokens() {
        assert!(check(&format!("listen = '[::1]:0'\n{SERVER}")).is_ok());
        let refused = check(&format!("listen = '0.0.0.0:0'\n{SERVER}")).unwrap_err();
        assert!(refused.contains("--without-tokens"), "{refused}");
        let token = format!("[tokens.me]\nsha256 = '{}'\n", "0a".repeat(32));
        assert!(check(&format!("listen = '0.0.0.0:0'\n{SERVER}{token}")).is_ok());
    }

    #[test]
    fn two_tokens_may_not_be_the_same() {
        let token = |name: &str, hash: &str| format!("[tokens.{name}]\nsha256 = '{hash}'\n");
        let (one, other) = ("ab".repeat(32), "AB".repeat(32));
        let both = format!("{SERVER}{}{}", token("a", &one), token("b", &other));
        let refused = check(&both).unwrap_err();
        assert!(
            refused.contains("token `b`: it has the same sha256 as token `a`"),
            "{refused}"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_name() {
        let cases = [
            ("", "no server"),
            ("[servers.'a/b']\ncommand = ['cat']", "`a/b`"),
            ("[servers.a]\ncommand = []", "command is empty"),
            (
                "[servers.a]\ncommand = ['no-such-program server.py']",
                "server `a`: command has several words in one",
            ),
            (
                "[servers.a]\ncommand = ['proxy.toml']",
                "server `a`: command is a configuration file: pool-proxy serve --config",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nenv = { 'A=B' = '' }",
                "`A=B`",
            ),
            (
                "[http]\nhead_bytes_max = 1\n[servers.a]\ncommand = ['cat']",
                "http.head_bytes_max",
            ),
            (
                "[http]\nconnections_max = 9223372036854775807\n[servers.a]\ncommand = ['cat']",
                "at most",
            ),
            (
                "[http]\nwrite_timeout = '0s'\n[servers.a]\ncommand = ['cat']",
                "http.write_timeout must be longer",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nmemory_bytes_soft = 2\nmemory_bytes_max = 1",
                "more than memory_bytes_max",
            ),
            (
                "[limits]\nmemory_bytes_max = 0\n[servers.a]\ncommand = ['cat']",
                "limits.memory_bytes_max must be at least 1",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nspare = 1",
                "sharing = \"request\" only",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nsharing = 'request'\nspare = 3\nchildren_max = 2",
                "more than children_max, which is 2",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nchildren_max = 3\n[limits]\nchildren_max = 2",
                "children_max is more than limits.children_max, which is 2",
            ),
            (
                "[servers.a]\ncommand = ['cat']\ntool_timeouts = { x = '0s' }",
                "tool_timeouts.x must be longer",
            ),
            (
                "[limits]\nsessions_per_principal_max = 0\n[servers.a]\ncommand = ['cat']",
                "limits.sessions_per_principal_max must be at least 1",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nidle_timeout = '0s'",
                "idle_timeout must be longer",
            ),
            (
                "[servers.a]\ncommand = ['cat']\n[tokens.t]\nsha256 = 'secret'",
                "64 hexadecimal",
            ),
        ];
        assert_refused(cases);
    }

    #[test]
    #[cfg(unix)]
    fn a_program_that_could_not_be_looked_for_is_not_said_to_be_missing() {
        let name = "n".repeat(300);
        let text = format!("[servers.a]\ncommand = ['{name} server.py']");
        assert_refused([(
            &text,
            "server `a`: command: its program could not be looked for: File name too long",
        )]);
    }

    #[test]
    fn names_and_tokens_that_nobody_could_have_are_refused() {
        assert_refused([
            (
                "[http]\nallowed_hosts = ['a.example:80']\n[servers.a]\ncommand = ['cat']",
                "http.allowed_hosts: `a.example:80` is not the bare name of a host",
            ),
            (
                "[http]\nallowed_hosts = ['*']\n[servers.a]\ncommand = ['cat']",
                "http.allowed_hosts: `*`",
            ),
            (
                "[http]\nallowed_origins = ['https://a.example/']\n[servers.a]\ncommand = ['cat']",
                "http.allowed_origins: `https://a.example/` is not an origin",
            ),
            (
                "[http]\nallowed_origins = ['a.example']\n[servers.a]\ncommand = ['cat']",
                "http.allowed_origins: `a.example`",
            ),
            (
                "[servers.a]\ncommand = ['cat']\n[tokens.t]\nsha256 = \
                 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
                "hash of an empty token",
            ),
            (
                "[servers.a]\ncommand = ['cat']\n[tokens.t]\nservers = []\nsha256 = \
                 '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a'",
                "servers names none",
            ),
        ]);
    }

    fn assert_refused<const N: usize>(cases: [(&str, &str); N]) {
        for (text, expected) in cases {
            let refused = check(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
