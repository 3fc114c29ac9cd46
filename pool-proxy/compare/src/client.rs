//! The clients: each has a session and a connection of its own, and calls again as soon as it has its reply.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::Connection;

/// What the clients do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) clients: usize,
    pub(crate) warm_up: Duration,
    pub(crate) counted: Duration,
    pub(crate) tool: String,
    pub(crate) has_sessions: bool,
}

/// What one client counted after the warm-up.
#[derive(Debug, Default)]
struct Counted {
    /// Microseconds of each call that was answered.
    waits_us: Vec<u32>,
    /// Calls that were answered with anything but their message.
    failures: u64,
    first_failure: Option<String>,
}

/// Runs the clients and prints what they counted.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below 2^52"
)]
pub(crate) fn run(plan: &Plan) -> ExitCode {
    let start = &Barrier::new(plan.clients);
    let counted: Vec<Counted> = thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| scope.spawn(move || work(plan, number, start)))
            .collect();
        let ends = clients.into_iter().map(ScopedJoinHandle::join);
        ends.map(|end| end.expect("a client does not panic"))
            .collect()
    });
    let mut waits: Vec<u32> = Vec::new();
    let (mut failures, mut first_failure) = (0, None);
    for one in counted {
        waits.extend(one.waits_us);
        failures += one.failures;
        first_failure = first_failure.or(one.first_failure);
    }
    waits.sort_unstable();
    let report = json!({
        "requests_per_second": waits.len() as f64 / plan.counted.as_secs_f64(),
        "p50_ms": percentile_ms(&waits, 50),
        "p99_ms": percentile_ms(&waits, 99),
        "failures": failures,
        "first_failure": first_failure,
    });
    match writeln!(io::stdout(), "{report}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The least wait that so many percent of the calls did not exceed.
fn percentile_ms(sorted_us: &[u32], percent: usize) -> Option<f64> {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1);
    sorted_us
        .get(rank - 1)
        .map(|&wait| f64::from(wait) / 1000.0)
}

/// One client. All begin together, when each has its session.
#[expect(
    clippy::disallowed_methods,
    reason = "a real clock: other programs are measured"
)]
fn work(plan: &Plan, number: usize, start: &Barrier) -> Counted {
    let opened = open(plan);
    start.wait();
    let begun = Instant::now();
    let mut counted = Counted::default();
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            counted.fail(format!("no session: {error}"));
            return counted;
        }
    };
    for call in 0_u64.. {
        let asked = Instant::now();
        if asked.duration_since(begun) > plan.warm_up + plan.counted {
            break;
        }
        let outcome = call_tool(&mut connection, plan, number, call);
        if asked.duration_since(begun) < plan.warm_up {
            continue;
        }
        match outcome {
            Ok(()) => {
                let wait = asked.elapsed().as_micros();
                counted
                    .waits_us
                    .push(u32::try_from(wait).unwrap_or(u32::MAX));
            }
            Err(error) => {
                counted.fail(error.to_string());
                // A connection in an unknown state is not used again.
                match open(plan) {
                    Ok(fresh) => connection = fresh,
                    Err(_) => break,
                }
            }
        }
    }
    counted
}

impl Counted {
    fn fail(&mut self, why: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(why);
    }
}

fn open(plan: &Plan) -> io::Result<Connection> {
    let mut connection = Connection::open(&plan.address, &plan.path)?;
    if plan.has_sessions {
        let initialize = json!({
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": VERSION,
                "capabilities": {},
                "clientInfo": { "name": "load", "version": "1.0.0" },
            },
        });
        let head = connection.post(initialize.to_string().as_bytes())?;
        let body = String::from_utf8_lossy(&connection.body).into_owned();
        if head.status != 200 {
            return Err(io::Error::other(format!(
                "initialize: {} {body}",
                head.status
            )));
        }
        if let Some(session) = head.session {
            connection.join(&session, VERSION);
        }
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        connection.post(initialized.to_string().as_bytes())?;
    }
    Ok(connection)
}

/// One call, whose message nobody else sends. The reply must have it.
fn call_tool(connection: &mut Connection, plan: &Plan, number: usize, call: u64) -> io::Result<()> {
    let message = format!("message {call} of client {number}.");
    let request = json!({
        "jsonrpc": "2.0",
        "id": call + 1,
        "method": "tools/call",
        "params": { "name": plan.tool, "arguments": { "message": message } },
    });
    let head = connection.post(request.to_string().as_bytes())?;
    let has_message = connection
        .body
        .windows(message.len())
        .any(|part| part == message.as_bytes());
    if head.status == 200 && has_message {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&connection.body);
    Err(io::Error::other(format!("{} {body}", head.status)))
}

const VERSION: &str = "2025-11-25";

#[cfg(test)]
mod tests {
    use super::percentile_ms;

    #[test]
    fn percentiles_are_waits_that_were_seen() {
        assert_eq!(percentile_ms(&[], 99), None);
        assert_eq!(percentile_ms(&[1000], 50), Some(1.0));
        let waits: Vec<u32> = (1..=100).map(|wait| wait * 1000).collect();
        assert_eq!(percentile_ms(&waits, 50), Some(50.0));
        assert_eq!(percentile_ms(&waits, 99), Some(99.0));
    }
}
