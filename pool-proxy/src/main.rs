//! MCP over HTTP in front of servers that speak stdio.
//!
//! | room or file | what it decides |
//! |---|---|
//! | `cli`, `config` | what the user asks for |
//! | `slip` | what to type instead of a command line without `serve` |
//! | `app`, `shutdown` | what exists once; the order of the start and of the end |
//! | `descriptors` | how many connections the limits of this process allow |
//! | `asker`, `era` | who asks which server; which era a request is of |
//! | `front` | connections of clients: accepted, bounded, routed by path |
//! | `guard` | who may ask: Host, Origin, token |
//! | `wire` | messages, answers and streams as bytes |
//! | `legacy` | the protocol of the eras with sessions, up to 2025-11-25 |
//! | `modern` | the protocol of the era without sessions, 2026-07-28 |
//! | `delivery` | how a request that reached a child is answered |
//! | `sessions` | which sessions exist, and when they end |
//! | `backend` | the servers: their commands, keys and pools of children |
//! | `request_log` | what is said of each request |
//! | `request_meters` | how requests are counted |
//! | `log_filter` | which lines of the libraries are left out of the log |
//! | `log_lines` | how lines of the log reach stderr |
//! | `builtin` | the server that the bare command serves |

mod app;
mod asker;
mod backend;
mod builtin;
mod cli;
mod config;
mod delivery;
mod descriptors;
mod era;
mod front;
mod guard;
mod legacy;
mod log_filter;
mod log_lines;
mod modern;
mod request_log;
mod request_meters;
mod sessions;
mod shutdown;
mod slip;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match cli::Cli::read().action() {
        cli::Action::Serve(config) => config.and_then(|config| shutdown::run(&config)),
        cli::Action::BuiltIn => builtin::serve().map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::explain(&*error);
            ExitCode::FAILURE
        }
    }
}
