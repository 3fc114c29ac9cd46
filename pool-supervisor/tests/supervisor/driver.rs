//! The program and what it says.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// How long anything may take before a test fails.
pub(crate) const OUTER_DEADLINE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills the program.
pub(crate) struct Driver {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    lines: Option<Receiver<Value>>,
    /// Everything that was said, in order.
    pub(crate) said: Vec<Value>,
    /// What was said and not looked at by `next`.
    unread: VecDeque<Value>,
    next_id: i64,
}

impl Driver {
    /// One that was initialized.
    pub(crate) fn start() -> Self {
        Self::start_with(json!({}))
    }

    /// One that was initialized with these parameters besides the version.
    pub(crate) fn start_with(mut params: Value) -> Self {
        let mut driver = Self::start_raw();
        params["protocolVersion"] = json!(1);
        driver.call("initialize", params).unwrap();
        driver
    }

    /// One that was sent nothing.
    pub(crate) fn start_raw() -> Self {
        let mut driver = Self::start_deaf();
        driver.listen();
        driver
    }

    /// One whose stdout nobody reads.
    pub(crate) fn start_deaf() -> Self {
        Self::start_on(Stdio::piped(), None)
    }

    /// One with this stdin, and this stdout in place of a pipe to this driver.
    pub(crate) fn start_on(stdin: Stdio, stdout: Option<Stdio>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the program under test is started as hosts start it"
        )]
        let mut process = Command::new(env!("CARGO_BIN_EXE_pool-supervisor"))
            .stdin(stdin)
            .stdout(stdout.unwrap_or_else(Stdio::piped))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: process.stdin.take(),
            stdout: process.stdout.take(),
            process,
            lines: None,
            said: Vec::new(),
            unread: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Begins to read what it says.
    pub(crate) fn listen(&mut self) {
        let (sender, lines) = channel();
        let stdout = self.stdout.take().expect("it was not listened to before");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let value = serde_json::from_str(&line).expect("every line is JSON");
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        self.lines = Some(lines);
    }

    /// Its input, to be written by somebody else.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("its input is open")
    }

    /// Closes our end of its stdout.
    pub(crate) fn hang_up(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(bytes).unwrap();
    }

    pub(crate) fn send_value(&mut self, value: &Value) {
        let mut line = serde_json::to_vec(value).unwrap();
        line.push(b'\n');
        self.send_bytes(&line);
    }

    /// Sends a request, and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send_value(&request);
        id
    }

    /// Sends a request, and waits for its answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// Waits for an answer. What comes before stays unread.
    pub(crate) fn answer(&mut self, id: i64) -> Result<Value, Value> {
        let answer = self.wait_for(|message| message["id"] == id);
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Waits for a notification of a child. What comes before stays unread.
    pub(crate) fn told(&mut self, method: &str, child: &str) -> Value {
        let told = self.wait_for(|message| is_told(message, method, child));
        told["params"].clone()
    }

    /// Starts a child with all credit.
    pub(crate) fn spawn(&mut self, child: &str, script: &str) -> u32 {
        self.spawn_with(child, script, json!({}))
    }

    /// Starts a child with further parameters.
    pub(crate) fn spawn_with(&mut self, child: &str, script: &str, more: Value) -> u32 {
        let params = spawn_params(child, script, more);
        let result = self.call("spawn", params).unwrap();
        u32::try_from(result["pid"].as_u64().unwrap()).unwrap()
    }

    /// Waits for a message. What comes before stays unread.
    pub(crate) fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.unread.iter().position(&is_it) {
            return self.unread.remove(place).unwrap();
        }
        loop {
            let message = self
                .receive()
                .expect("it says what is waited for before it leaves");
            if is_it(&message) {
                return message;
            }
            self.unread.push_back(message);
        }
    }

    /// What it says next, after what was left unread; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        self.unread.pop_front().or_else(|| self.receive())
    }

    fn receive(&mut self) -> Option<Value> {
        let lines = self.lines.as_ref().expect("it is listened to");
        match lines.recv_timeout(OUTER_DEADLINE) {
            Ok(message) => {
                self.said.push(message.clone());
                Some(message)
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("{error}, after {:#?}", self.said.last()),
        }
    }

    /// Closes its input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Closes its input, hears it out, and waits for it.
    pub(crate) fn end(mut self) -> (Vec<Value>, ExitStatus) {
        self.close();
        while self.receive().is_some() {}
        let status = self.process.wait().unwrap();
        (std::mem::take(&mut self.said), status)
    }

    /// Waits until it has left by itself.
    pub(crate) fn leaves_within(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it stays");
            thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A line of its status in KiB, such as `VmRSS`.
    pub(crate) fn kibibytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn is_told(message: &Value, method: &str, child: &str) -> bool {
    message["method"] == method && message["params"]["child"] == child
}

/// A shell with a script, all credit, and further parameters.
pub(crate) fn spawn_params(child: &str, script: &str, more: Value) -> Value {
    let env: BTreeMap<String, String> = [("PATH".into(), std::env::var("PATH").unwrap())].into();
    let mut params = json!({
        "child": child, "shell": script, "env": env, "cwd": "/",
        "credit": {"stdout": 1_u64 << 40, "stderr": 1_u64 << 40},
    });
    if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
        if more.contains_key("argv") {
            params.remove("shell");
        }
        params.extend(more);
    }
    params
}

/// The methods of what was told of a child, in order.
pub(crate) fn story<'a>(said: &'a [Value], child: &str) -> Vec<&'a str> {
    let told = said.iter().filter(|one| one["params"]["child"] == child);
    told.filter_map(|one| one["method"].as_str()).collect()
}

/// What a stream of a child was told as, joined.
pub(crate) fn output(said: &[Value], child: &str, stream: &str) -> Vec<u8> {
    let told = said.iter().filter(|one| is_told(one, "output", child));
    let told = told.filter(|one| one["params"]["stream"] == stream);
    told.flat_map(|one| chunk(&one["params"])).collect()
}

/// The bytes of one `output`.
pub(crate) fn chunk(params: &Value) -> Vec<u8> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    match (params["text"].as_str(), params["base64"].as_str()) {
        (Some(text), None) => text.into(),
        (None, Some(base64)) => STANDARD.decode(base64).unwrap(),
        other => panic!("text or base64: {other:?}"),
    }
}
