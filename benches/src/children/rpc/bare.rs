//! A child with bare pipes: the least that any client must do.

use std::process::Stdio;

use bytes::BytesMut;
use rmcp::model::CallToolResult;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{self, Child};

use super::tool_call::{check, params};
use crate::children::program::Program;
use pool_reuse::builtin::{Tool, Wire};
use pool_reuse::measure::Measured;

/// A child that one caller writes to and reads from.
#[derive(Debug)]
pub(super) struct Bare {
    child: Child,
    read: BytesMut,
    number: u64,
}

/// The parsed part of a reply.
#[derive(Deserialize)]
struct Reply {
    result: CallToolResult,
}

impl Bare {
    /// Starts one from this thread, and so on its cores.
    #[expect(
        clippy::disallowed_methods,
        reason = "a child that is compared with those of a pool"
    )]
    pub(super) fn start() -> Measured<Self> {
        let mut command = process::Command::from(Program::server(Wire::Lines)?.command());
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            child,
            read: BytesMut::new(),
            number: 0,
        })
    }

    /// Writes a request and reads its reply at the same time.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Measured<()> {
        let pipes = self.child.stdin.as_mut().zip(self.child.stdout.as_mut());
        let (stdin, stdout) = pipes.ok_or("both pipes were asked for")?;
        self.read.clear();
        let write = async {
            stdin.write_all(request).await?;
            stdin.write_all(b"\n").await
        };
        let read = async {
            while self.read.last() != Some(&b'\n') {
                self.read.reserve(1 << 16);
                stdout.read_buf(&mut self.read).await?;
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        Ok(())
    }

    /// A call as the clients make it, by one caller who has the child alone.
    pub(super) async fn call(&mut self) -> Measured<()> {
        self.calls(1).await
    }

    /// So many calls at once: the requests leave in one write, and all replies are awaited.
    pub(super) async fn calls(&mut self, count: u32) -> Measured<()> {
        let pipes = self.child.stdin.as_mut().zip(self.child.stdout.as_mut());
        let (stdin, stdout) = pipes.ok_or("both pipes were asked for")?;
        let mut lines = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let (method, params) = ("tools/call", params(Tool::Answer));
            let request =
                json!({ "jsonrpc": "2.0", "id": self.number, "method": method, "params": params });
            serde_json::to_writer(&mut lines, &request)?;
            lines.push(b'\n');
        }
        stdin.write_all(&lines).await?;
        self.read.clear();
        let mut missing = count;
        while missing > 0 {
            self.read.reserve(1 << 12);
            if stdout.read_buf(&mut self.read).await? == 0 {
                return Err("the child has ended".into());
            }
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let reply: Reply = serde_json::from_slice(&self.read.split_to(end + 1))?;
                check(&reply.result)?;
                missing = missing.saturating_sub(1);
            }
        }
        Ok(())
    }
}
