//! The command line.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, LogFormat, ServerSettings, Settings, Sharing};
use crate::slip::slip;

/// Serves MCP over HTTP in front of servers that speak stdio. Without a command it serves a built-in
/// server, to try it out.
#[derive(Debug, Parser)]
#[command(
    name = "pool-proxy",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "A server of yours: pool-proxy serve -- COMMAND ARGS"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The address of the built-in server [default: 127.0.0.1:8080]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the servers of a configuration file, or the one that COMMAND starts.
    Serve(Serve),
    /// Be the built-in server, on stdin and stdout.
    #[command(hide = true)]
    BuiltIn,
}

#[derive(Debug, Args)]
struct Serve {
    /// The address to listen on, such as 127.0.0.1:9000 [default: 127.0.0.1:8080]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How clients share the children of COMMAND [default: session].
    #[arg(long, value_enum)]
    sharing: Option<Sharing>,
    /// How the log is written to stderr [default: human].
    #[arg(long, value_enum)]
    log: Option<LogFormat>,
    /// Listen on other addresses than loopback although there are no tokens: everybody who reaches the
    /// port can use the servers.
    #[arg(long)]
    without_tokens: bool,
    /// The command of a server named `default`.
    #[arg(trailing_var_arg = true, value_name = "COMMAND ARGS")]
    command: Vec<String>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let meant = meant_address(text).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        format!("it must be an IP address and a port, such as {meant}")
    })
}

/// The address that was meant by one that lacks a part, or names this machine.
fn meant_address(text: &str) -> Option<String> {
    if let Ok(ip) = text.parse() {
        return Some(SocketAddr::new(ip, 8080).to_string());
    }
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':'));
    let port = port.unwrap_or(text).parse::<u16>().ok()?;
    Some(format!("127.0.0.1:{port}"))
}

/// What the program is to do.
pub(crate) enum Action {
    Serve(Result<Box<Config>, Box<dyn Error>>),
    BuiltIn,
}

impl Cli {
    /// What the user asks for. What cannot be understood ends the program, with what to type instead.
    pub(crate) fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let words = std::env::args_os().skip(1);
            let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
            let unknown = [
                ErrorKind::ArgumentConflict,
                ErrorKind::InvalidSubcommand,
                ErrorKind::UnknownArgument,
            ];
            let slip = unknown.contains(&error.kind()).then(|| slip(&words));
            match slip.flatten() {
                Some(slip) => {
                    complain(slip.as_str());
                    process::exit(error.exit_code())
                }
                None => error.exit(),
            }
        })
    }

    pub(crate) fn action(self) -> Action {
        match self.command {
            None => Action::Serve(built_in(self.listen).map(Box::new)),
            Some(Command::Serve(serve)) => {
                let config = serve.config().map(Box::new);
                Action::Serve(config.map_err(Into::into))
            }
            Some(Command::BuiltIn) => Action::BuiltIn,
        }
    }
}

/// This program, in front of itself as a server.
fn built_in(listen: Option<SocketAddr>) -> Result<Config, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let program = program
        .to_str()
        .ok_or("the path of this program is no UTF-8")?;
    let mut settings = Settings::default();
    let mut server = ServerSettings::of_command(vec![program.to_owned(), "built-in".to_owned()]);
    server.sharing = Sharing::Stateless;
    settings.servers.insert(DEFAULT_SERVER.to_owned(), server);
    settings.log.format = LogFormat::Off;
    if let Some(listen) = listen {
        settings.listen = listen;
    }
    let mut config = Config::check(settings, false)?;
    config.shows_curl = true;
    Ok(config)
}

impl Serve {
    fn config(self) -> Result<Config, ConfigError> {
        let mut settings = match &self.config {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        if let Some(listen) = self.listen {
            settings.listen = listen;
        }
        if let Some(format) = self.log {
            settings.log.format = format;
        }
        if self.command.is_empty() && self.sharing.is_some() {
            return Err(ConfigError::SharingWithoutCommand);
        }
        if !self.command.is_empty() {
            let mut server = ServerSettings::of_command(self.command);
            server.sharing = self.sharing.unwrap_or_default();
            if settings
                .servers
                .insert(DEFAULT_SERVER.to_owned(), server)
                .is_some()
            {
                return Err(ConfigError::TwoDefaults);
            }
        }
        Config::check(settings, self.without_tokens)
    }
}

/// Says why the program ends, with all causes.
pub(crate) fn explain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    complain(&text);
}

fn complain(text: &str) {
    // Nobody is left to be told if stderr is closed.
    drop(writeln!(io::stderr(), "pool-proxy: {text}"));
}

/// The name of the server that the command line starts.
const DEFAULT_SERVER: &str = "default";
