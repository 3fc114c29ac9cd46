//! MCP over HTTP in front of servers that speak stdio.
//!
//! | room or file | what it decides |
//! |---|---|
//! | `cli`, `config` | what the user asks for |
//! | `app`, `shutdown` | what exists once; the order of the start and of the end |
//! | `front` | connections of clients: accepted, bounded, routed by path |
//! | `guard` | who may ask: Host, Origin, token |
//! | `wire` | messages, answers and streams as bytes |
//! | `legacy` | the protocol of the eras with sessions, up to 2025-11-25 |
//! | `sessions` | which sessions exist, and when they end |
//! | `backend` | the servers: their commands, keys and pools of children |
//! | `request_log` | what is said of each request |
//! | `builtin` | the server that the bare command serves |

mod app;
mod backend;
mod builtin;
mod cli;
mod config;
mod front;
mod guard;
mod legacy;
mod request_log;
mod sessions;
mod shutdown;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().action() {
        cli::Action::Serve(config) => config.and_then(|config| shutdown::run(&config)),
        cli::Action::BuiltIn => builtin::serve().map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&*error);
            ExitCode::FAILURE
        }
    }
}
