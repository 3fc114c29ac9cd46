//! A JSON-RPC server that costs as little as possible, or as much as it is asked to.
//!
//! | method | what it answers |
//! |---|---|
//! | `initialize` | an MCP result |
//! | `echo` | its params |
//! | `tools/call` | the result of a tool, which is named `answer`, `burn`, `wait` or `pause` |
//! | any other | `{}` |
//!
//! It answers one request at a time, in order. Answers that cost nothing are written together when
//! there is nothing more to read; an answer that took time is written at once, with all before it.

use std::io::{self, BufRead, BufReader, Write};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How messages are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Each is a line.
    Lines,
    /// Each has a header with its length.
    ContentLength,
}

/// What a tool does before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Nothing.
    Answer,
    /// Uses a millisecond of CPU time.
    Burn,
    /// Waits for a millisecond, as for a disk.
    Wait,
    /// Waits for ten milliseconds, as for another service.
    Pause,
}

impl Tool {
    /// As a call names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Burn => "burn",
            Self::Wait => "wait",
            Self::Pause => "pause",
        }
    }

    fn of(params: &[u8]) -> Self {
        let name = after(params, b"\"name\":\"").unwrap_or_default();
        let chosen = [Self::Burn, Self::Wait, Self::Pause].into_iter();
        let mut chosen = chosen.filter(|tool| name.starts_with(tool.name().as_bytes()));
        chosen.next().unwrap_or(Self::Answer)
    }

    #[expect(clippy::disallowed_methods, reason = "this child is slow on purpose")]
    fn work(self) -> io::Result<()> {
        match self {
            Self::Answer => Ok(()),
            Self::Burn => burn(),
            Self::Wait => {
                thread::sleep(WORK);
                Ok(())
            }
            Self::Pause => {
                thread::sleep(WORK * 10);
                Ok(())
            }
        }
    }
}

fn burn() -> io::Result<()> {
    let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let until = used()? + WORK;
    while used()? < until {
        // Mostly work, not system calls: reading this clock is one.
        for number in 0..1_000_u32 {
            std::hint::black_box(number);
        }
    }
    Ok(())
}

/// Serves until its input ends.
///
/// # Errors
///
/// If its pipes fail or a header is malformed.
pub(super) fn serve(wire: Wire) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut output = io::stdout().lock();
    let (mut message, mut answer, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    while wire.read(&mut input, &mut message)? {
        let tool = reply(&message, &mut answer);
        tool.work()?;
        if !answer.is_empty() {
            wire.frame(&answer, &mut answers);
            answer.clear();
        }
        let may_wait = tool == Tool::Answer && wire.has_message(input.buffer());
        if !may_wait && !answers.is_empty() {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    Ok(())
}

impl Wire {
    /// The next message without its frame, or false at the end of input.
    fn read(self, input: &mut impl BufRead, message: &mut Vec<u8>) -> io::Result<bool> {
        message.clear();
        match self {
            Self::Lines => {
                let is_there = input.read_until(b'\n', message)? > 0;
                message.pop_if(|last| *last == b'\n');
                Ok(is_there)
            }
            Self::ContentLength => {
                let mut length = None;
                while input.read_until(b'\n', message)? > 2 {
                    let text = String::from_utf8_lossy(message);
                    if let Some((LENGTH, value)) = text.split_once(':') {
                        length = value.trim().parse().ok();
                    }
                    message.clear();
                }
                if message.is_empty() {
                    return Ok(false);
                }
                let length = length.ok_or(io::ErrorKind::InvalidData)?;
                message.resize(length, 0);
                input.read_exact(message)?;
                Ok(true)
            }
        }
    }

    /// Whether the next message has arrived, or is about to.
    fn has_message(self, buffer: &[u8]) -> bool {
        match self {
            Self::Lines => buffer.contains(&b'\n'),
            // A client that has started to write a message finishes it before it waits.
            Self::ContentLength => !buffer.is_empty(),
        }
    }

    fn frame(self, message: &[u8], framed: &mut Vec<u8>) {
        if self == Self::ContentLength {
            framed.extend_from_slice(format!("{LENGTH}: {}\r\n\r\n", message.len()).as_bytes());
        }
        framed.extend_from_slice(message);
        if self == Self::Lines {
            framed.push(b'\n');
        }
    }
}

/// Writes the answer, if there must be one. Returns the work to do before it is sent.
fn reply(message: &[u8], answer: &mut Vec<u8>) -> Tool {
    let head = &message[..message.len().min(HEAD_BYTES)];
    let Some(id) = after(head, b"\"id\":").or_else(|| after(message, b"\"id\":")) else {
        return Tool::Answer;
    };
    answer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    answer.extend_from_slice(&id[..id_length(id)]);
    answer.extend_from_slice(b",\"result\":");
    if let Some(at) = find(head, ECHO) {
        answer.extend_from_slice(&message[at + ECHO.len()..]);
        return Tool::Answer;
    }
    let method = after(head, b"\"method\":\"").unwrap_or_default();
    let is_call = method.starts_with(b"tools/call\"");
    answer.extend_from_slice(if is_call {
        RESULT
    } else if method.starts_with(b"initialize\"") {
        GREETING
    } else {
        b"{}"
    });
    answer.push(b'}');
    if is_call {
        Tool::of(method)
    } else {
        Tool::Answer
    }
}

/// The length of the id at the start of this text: a number or a string.
fn id_length(text: &[u8]) -> usize {
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\r' | b'\n');
    let end = match text.first() {
        Some(b'"') => text
            .iter()
            .skip(1)
            .position(|byte| *byte == b'"')
            .map(|at| at + 2),
        _ => text.iter().position(is_end),
    };
    end.unwrap_or(text.len())
}

fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    find(text, what).map(|at| &text[at + what.len()..])
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A request that the server answers with its params, which have this many bytes.
#[must_use]
pub fn large_request(body_bytes: usize) -> Vec<u8> {
    let mut request = br#"{"jsonrpc":"2.0","id":123456,"#.to_vec();
    request.extend_from_slice(ECHO);
    request.push(b'"');
    request.resize(request.len() + body_bytes, b'x');
    request.extend_from_slice(b"\"}");
    request
}

const WORK: Duration = Duration::from_millis(1);
/// Id and method stand in the first bytes, however long the params are.
const HEAD_BYTES: usize = 128;
const LENGTH: &str = "Content-Length";
const ECHO: &[u8] = b"\"method\":\"echo\",\"params\":";
const GREETING: &[u8] = br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"0"}}"#;
const RESULT: &[u8] = br#"{"content":[{"type":"text","text":"the answer is 42"}],"isError":false}"#;

#[cfg(test)]
mod tests {
    use super::{Tool, Wire, large_request, reply};

    fn answered(message: &str) -> (String, Tool) {
        let mut answer = Vec::new();
        let tool = reply(message.as_bytes(), &mut answer);
        (String::from_utf8(answer).unwrap(), tool)
    }

    #[test]
    fn an_answer_repeats_the_id_of_its_request_byte_by_byte() {
        for id in ["7", "\"a,b\"", "-1.5e3"] {
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            let first = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(answered(&first), (expected.clone(), Tool::Answer));
            let last = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#);
            assert_eq!(answered(&last), (expected, Tool::Answer));
        }
    }

    #[test]
    fn a_notification_is_not_answered() {
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(answered(notification), (String::new(), Tool::Answer));
    }

    #[test]
    fn a_tool_is_chosen_by_its_name() {
        for tool in [Tool::Answer, Tool::Burn, Tool::Wait, Tool::Pause] {
            let name = tool.name();
            let request = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#
            );
            let (answer, chosen) = answered(&request);
            assert_eq!(chosen, tool);
            assert!(answer.contains("the answer is 42"), "{answer}");
        }
    }

    #[test]
    fn the_params_of_a_large_request_come_back() {
        let request = String::from_utf8(large_request(300)).unwrap();
        let body = "x".repeat(300);
        let expected = format!(r#"{{"jsonrpc":"2.0","id":123456,"result":"{body}"}}"#);
        assert_eq!(answered(&request).0, expected);
    }

    #[test]
    fn framed_messages_are_read_back_and_nothing_is_read_at_the_end() {
        for wire in [Wire::Lines, Wire::ContentLength] {
            let mut framed = Vec::new();
            wire.frame(b"{\"a\":1}", &mut framed);
            wire.frame(b"{}", &mut framed);
            let (mut input, mut message) = (framed.as_slice(), Vec::new());
            let mut read = Vec::new();
            while wire.read(&mut input, &mut message).unwrap() {
                read.push(message.clone());
            }
            assert_eq!(read, [b"{\"a\":1}".to_vec(), b"{}".to_vec()], "{wire:?}");
        }
    }
}
