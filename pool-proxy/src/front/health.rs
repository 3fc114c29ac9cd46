//! What is said of the proxy itself.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::wire::{Answer, ReplyBody, plain};

/// The process lives and serves.
pub(super) fn alive() -> Answer {
    plain(StatusCode::OK, "ok\n")
}

/// The children of each server, and which servers cannot be started: those that have no child, and whose latest
/// start failed a short time ago. The proxy is ready as long as one can.
pub(super) fn ready(app: &Arc<App>) -> Answer {
    let servers = app.servers.iter().map(|(name, server)| {
        let status = server.status();
        let counts = json!({
            "children": status.size(),
            "starting": status.opening,
            "waiting": status.waiting,
            "memory_bytes": status.weight,
            "failed_starts": server.starts.failed_in_a_row(),
        });
        (name.clone(), counts)
    });
    let servers: Map<String, Value> = servers.collect();
    let broken = app
        .servers
        .iter()
        .filter(|(_, server)| server.starts.has_just_failed() && server.has_no_child());
    let broken: Vec<&String> = broken.map(|(name, _)| name).collect();
    let is_ready = !app.stop.is_cancelled() && broken.len() < app.servers.len();
    let text = json!({
        "ready": is_ready,
        "cannot_start": broken,
        "sessions": app.sessions.len(),
        "servers": servers,
    });
    let mut answer = hyper::Response::new(ReplyBody::whole(format!("{text}\n")));
    if !is_ready {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// All metrics, in the format of Prometheus.
pub(super) fn metrics(app: &Arc<App>) -> Answer {
    metrics::gauge!("proxy_sessions").set(f64::from(
        u32::try_from(app.sessions.len()).unwrap_or(u32::MAX),
    ));
    plain(StatusCode::OK, app.metrics.render())
}
