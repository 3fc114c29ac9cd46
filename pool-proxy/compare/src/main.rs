//! Load on MCP proxies: clients that keep calling a tool over HTTP, and the stdio server that they call.
//!
//! `compare/run.py` starts one proxy after another in front of the server and runs the clients. Blocking
//! threads do: there are few clients, and each waits for its reply before it asks again.

mod client;
mod http;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::Plan;

/// Load on MCP proxies.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A stdio server with the tool `echo`. It serves one request after the other.
    Server {
        /// How long each call takes.
        #[arg(long, default_value_t = 0)]
        milliseconds: u64,
    },
    /// Clients of an endpoint. Prints a line of JSON with what was counted.
    Clients {
        /// The address of the proxy.
        #[arg(long)]
        address: String,
        /// The path of the endpoint.
        #[arg(long, default_value = "/mcp")]
        path: String,
        /// How many there are.
        #[arg(long, default_value_t = 16)]
        clients: usize,
        /// For how long calls are made that are not counted.
        #[arg(long, default_value_t = 3)]
        warm_up_seconds: u64,
        /// For how long calls are counted.
        #[arg(long, default_value_t = 4)]
        seconds: u64,
        /// The tool to call. It repeats its argument `message`.
        #[arg(long, default_value = "echo")]
        tool: String,
        /// Do not open sessions: the proxy has none.
        #[arg(long)]
        without_sessions: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().role {
        Role::Server { milliseconds } => server::run(Duration::from_millis(milliseconds)),
        Role::Clients {
            address,
            path,
            clients,
            warm_up_seconds,
            seconds,
            tool,
            without_sessions,
        } => client::run(&Plan {
            address,
            path,
            clients,
            warm_up: Duration::from_secs(warm_up_seconds),
            counted: Duration::from_secs(seconds),
            tool,
            has_sessions: !without_sessions,
        }),
    }
}
