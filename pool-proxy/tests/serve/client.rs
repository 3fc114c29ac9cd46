//! How a test asks the program.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A client of one endpoint.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
}

/// An answer whose head has come.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::at(address, "/mcp")
    }

    pub(crate) fn at(address: SocketAddr, path: &str) -> Self {
        let headers = [
            ("host", address.to_string()),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ];
        Self {
            address,
            path: path.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    /// With this header, in the place of one of the same name.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.without(name);
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// With this header beside one of the same name.
    pub(crate) fn also(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(known, _)| known != name);
        client
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, method: Method, body: impl Into<Bytes>) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        drop(spawn(async move { drop(connection.await) }));
        let mut request = Request::builder().method(method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let reply = sender.send_request(request).await.unwrap();
        let (head, body) = reply.into_parts();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
            buffer: Vec::new(),
        }
    }

    /// Sends a message, and goes away when what this returns is dropped.
    pub(crate) async fn abandoned(&self, message: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = message.to_string();
        let mut text = format!(
            "POST {} HTTP/1.1\r\ncontent-length: {}\r\n",
            self.path,
            body.len()
        );
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn post(&self, message: &Value) -> Reply {
        self.send(Method::POST, message.to_string()).await
    }

    /// Sends a message until it is told that the server starts: on a busy machine the start may not have begun when the
    /// client has waited long enough.
    pub(crate) async fn told_of_a_start(&self, message: &Value) {
        loop {
            let mut reply = self.post(message).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            let text = reply.text().await;
            if text.contains("starting") {
                assert_eq!(reply.headers["retry-after"], "5");
                return;
            }
            assert!(text.contains("busy"), "{text}");
        }
    }

    /// Sends a request of the protocol, and takes its reply.
    pub(crate) async fn ask(&self, id: impl Into<Value>, method: &str, params: Value) -> Value {
        let mut reply = self.post(&request(id, method, params)).await;
        reply.assert_ok().await;
        reply.last().await
    }

    /// The text of a tool's result.
    pub(crate) async fn call(&self, id: impl Into<Value>, tool: &str, arguments: Value) -> String {
        let params = json!({ "name": tool, "arguments": arguments });
        let reply = self.ask(id, "tools/call", params).await;
        let text = reply["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    /// Begins a session, and is a client of that.
    pub(crate) async fn begin(&self, version: &str) -> Self {
        let mut reply = self.post(&initialize(version)).await;
        reply.assert_ok().await;
        let id = reply.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let result = reply.json().await;
        let version = result["result"]["protocolVersion"]
            .as_str()
            .unwrap()
            .to_owned();
        let client = self
            .with("mcp-session-id", &id)
            .with("mcp-protocol-version", &version);
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(client.post(&initialized).await.status, StatusCode::ACCEPTED);
        client
    }
}

/// How many children the server `legacy` has.
pub(crate) async fn children(address: SocketAddr) -> u64 {
    let ready = Client::at(address, "/readyz");
    let ready = ready.send(Method::GET, "").await.json().await;
    ready["servers"]["legacy"]["children"].as_u64().unwrap()
}

impl Reply {
    pub(crate) async fn text(&mut self) -> String {
        let body = (&mut self.body).collect().await.unwrap().to_bytes();
        self.buffer.extend_from_slice(&body);
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    async fn assert_ok(&mut self) {
        if self.status != StatusCode::OK {
            let text = self.text().await;
            panic!("{}: {text}", self.status);
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// The reply to a request: the answer, or the last event of a stream, which any answer becomes that takes
    /// longer than 5 s on a busy machine.
    pub(crate) async fn last(&mut self) -> Value {
        if self.headers["content-type"] == "application/json" {
            return self.json().await;
        }
        let mut last = Value::Null;
        while let Some(event) = self.event().await {
            last = event;
        }
        last
    }

    /// The next bytes of a stream, which may be a comment.
    pub(crate) async fn frame(&mut self) -> String {
        let frame = self.body.frame().await.unwrap().unwrap();
        let bytes = frame.into_data().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The next message of a stream; `None` at its end. Comments are passed over.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        assert_eq!(self.headers["content-type"], "text/event-stream");
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                if let Some((_, data)) = event.split_once("data: ") {
                    return Some(serde_json::from_str(data.trim_end()).unwrap());
                }
            }
            let frame = self.body.frame().await?;
            self.buffer
                .extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the connection of a client, which ends with the test"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

pub(crate) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

pub(crate) fn tool(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    request(
        id,
        "tools/call",
        json!({ "name": tool, "arguments": arguments }),
    )
}

pub(crate) fn initialize(version: &str) -> Value {
    let params = json!({
        "protocolVersion": version,
        "capabilities": { "sampling": {} },
        "clientInfo": { "name": "test", "version": "1" },
    });
    request(0, "initialize", params)
}

pub(crate) const NEWEST: &str = "2025-11-25";
