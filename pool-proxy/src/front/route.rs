//! Which requests are let in, and what a path leads to.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    HeaderName, HeaderValue, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::{health, request_body};
use crate::app::App;
use crate::asker::Asker;
use crate::era;
use crate::guard::Origin;
use crate::wire::{Answer, accepted, because, count_refusal, plain};

/// Answers any request.
pub(super) async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let answer = let_in(app, request).await;
    count_refusal(&answer);
    answer
}

async fn let_in(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    if head.uri.authority().is_some() || head.method == Method::CONNECT {
        return plain(
            StatusCode::BAD_REQUEST,
            "this is no proxy for other hosts\n",
        );
    }
    if !app.names.accepts_host(&head.headers) {
        let reason = "this Host is not known; http.allowed_hosts in the configuration can add it\n";
        return because(plain(StatusCode::FORBIDDEN, reason), "host");
    }
    match app.names.origin(&head.headers) {
        Origin::None => routed(app, &head, body).await,
        Origin::Refused => {
            let reason =
                "this Origin may not ask; http.allowed_origins in the configuration can add it\n";
            because(plain(StatusCode::FORBIDDEN, reason), "origin")
        }
        Origin::Allowed(origin) => {
            let mut answer = match head.method {
                Method::OPTIONS => preflight(&head.headers),
                _ => routed(app, &head, body).await,
            };
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("Mcp-Session-Id"),
            );
            headers.append(VARY, HeaderValue::from(ORIGIN));
            answer
        }
    }
}

/// What a page may do. It names the headers that it wants to send, and those that repeat arguments have names of
/// their servers' choice.
fn preflight(asked: &HeaderMap) -> Answer {
    let mut answer = accepted();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let fixed = HeaderValue::from_static(
        "Accept, Authorization, Content-Type, Mcp-Session-Id, \
         MCP-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID",
    );
    headers.append(ACCESS_CONTROL_ALLOW_HEADERS, fixed);
    let asked = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let asked = asked.filter_map(|names| names.to_str().ok());
    let asked = asked.flat_map(|names| names.split(',')).map(str::trim);
    for name in asked.filter(|name| is_mirrored_argument(name)) {
        // Valid, since it was a part of one that is.
        if let Ok(name) = HeaderValue::from_str(name) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, name);
        }
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer
}

/// Whether it is the name of a header that repeats an argument.
fn is_mirrored_argument(name: &str) -> bool {
    let prefix = name.get(..MIRRORED.len());
    let is_mirrored = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(MIRRORED));
    is_mirrored && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

async fn routed(app: &Arc<App>, head: &Parts, body: Incoming) -> Answer {
    let path = head.uri.path();
    if path == "/healthz" {
        return health::alive();
    }
    let access = app.tokens.access(&head.headers);
    // On loopback they are open to the programs of this machine, which collect them.
    let may_watch = app.is_local || access.as_ref().is_some_and(|access| access.is_admin);
    match path {
        "/readyz" if may_watch => return health::ready(app),
        "/metrics" if may_watch => return health::metrics(app),
        _ => {}
    }
    let Some(access) = access else {
        let reason = "a known token is needed, in a header: Authorization: Bearer TOKEN\n";
        let mut answer = plain(StatusCode::UNAUTHORIZED, reason);
        answer
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return because(answer, "token");
    };
    let server = app
        .server_at(path)
        .filter(|server| access.may_use(&server.name));
    let Some(server) = server else {
        return not_found(app, path, |name| access.may_use(name));
    };
    let asker = Asker {
        app,
        server: Arc::clone(server),
        principal: access.principal,
    };
    let body = match head.method {
        Method::POST => match request_body::read(body, &app.http).await {
            Ok(body) => body,
            Err(answer) => return because(answer, "body"),
        },
        _ => Bytes::new(),
    };
    era::serve(&asker, head, body).await
}

/// Names no server that the token is not for.
fn not_found(app: &App, path: &str, may_use: impl Fn(&str) -> bool) -> Answer {
    let reason = match path {
        "/readyz" | "/metrics" => "this path needs a token with `admin = true`\n".to_owned(),
        _ => {
            let names = app.servers.keys().filter(|name| may_use(name));
            let paths = names.map(|name| format!("/servers/{name}/mcp\n"));
            let paths: String = paths.collect();
            format!("there is nothing at this path. Your servers are at\n{paths}")
        }
    };
    because(plain(StatusCode::NOT_FOUND, reason), "path")
}

const MIRRORED: &str = "mcp-param-";
