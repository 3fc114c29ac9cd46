//! How a child is started, and which environment it gets.
//!
//! A child gets little of this program's environment: what programs need to find their files, their
//! language and their proxy. Everything else may be a secret, and is passed on by name only.

use pool_stdio::{CommandSpec, KillScope};

use crate::config::ServerSettings;

/// The command of a server.
pub(super) fn command(name: &str, settings: &ServerSettings, children_max: usize) -> CommandSpec {
    let mut words = settings.command.iter();
    let program = words.next().map_or("", String::as_str);
    let passed = PASSED.iter().copied().map(str::to_owned);
    let mut spec = CommandSpec::new(program)
        .args(words)
        .name(name)
        .children_max(children_max)
        // A server may have started what leaves its process group.
        .kill_scope(KillScope::Tree)
        .env_only(passed.chain(settings.env_pass.iter().cloned()));
    for (name, value) in &settings.env {
        spec = spec.env(name, value);
    }
    if let Some(directory) = &settings.directory {
        spec = spec.current_dir(directory);
    }
    spec
}

/// What every child gets. `docs/proxy.md` lists them.
const PASSED: [&str; 34] = [
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "APPDATA",
    "LOCALAPPDATA",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERPROFILE",
];
