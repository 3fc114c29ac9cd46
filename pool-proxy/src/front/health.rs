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

/// The children of each server.
pub(super) fn ready(app: &Arc<App>) -> Answer {
    let servers = app.servers.iter().map(|(name, server)| {
        let status = server.status();
        let counts = json!({
            "children": status.size(),
            "starting": status.opening,
            "waiting": status.waiting,
        });
        (name.clone(), counts)
    });
    let servers: Map<String, Value> = servers.collect();
    let is_closing = app.stop.is_cancelled();
    let text = json!({ "ready": !is_closing, "sessions": app.sessions.len(), "servers": servers });
    let mut answer = hyper::Response::new(ReplyBody::whole(format!("{text}\n")));
    if is_closing {
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
