//! One connection to a Redis server, for one command at a time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A socket to a Redis server.
#[derive(Debug)]
pub struct RedisConnection {
    stream: BufReader<TcpStream>,
    /// A command was sent, and its reply was not read completely.
    is_busy: bool,
}

impl RedisConnection {
    /// Connects, and waits for the answer to a `PING`, without a limit of its own: the pool has one.
    ///
    /// # Errors
    ///
    /// If the server refuses, or demands a password.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped leaves nothing open.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream: BufReader::new(stream),
            is_busy: false,
        };
        pong(&connection.ask(&["PING"]).await?)?;
        Ok(connection)
    }

    /// Adds one to the number under this key, and returns it.
    ///
    /// # Errors
    ///
    /// If the server does not answer within half a second, or not with a number.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped leaves the connection busy, so the pool closes it.
    pub async fn increment(&mut self, key: &str) -> io::Result<i64> {
        let reply = self.command(&["INCR", key]).await?;
        let number = reply.strip_prefix(':').and_then(|text| text.parse().ok());
        number.ok_or_else(|| unexpected(&reply))
    }

    /// Has the server send a text back.
    ///
    /// # Errors
    ///
    /// If the server does not answer within half a second.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped leaves the connection busy, so the pool closes it.
    pub async fn echo(&mut self, text: &str) -> io::Result<String> {
        self.command(&["ECHO", text]).await
    }

    /// Our address, by which the server names this connection.
    ///
    /// # Errors
    ///
    /// If the socket has none any more.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Has the server close another connection.
    ///
    /// # Errors
    ///
    /// If the server does not answer within half a second, or knows no such connection.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped leaves the connection busy, so the pool closes it.
    pub async fn kill_other(&mut self, address: SocketAddr) -> io::Result<()> {
        self.command(&["CLIENT", "KILL", &address.to_string()])
            .await?;
        Ok(())
    }

    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        pong(&self.command(&["PING"]).await?)
    }

    /// Sends a command as a careless caller does: its reply is not read.
    ///
    /// # Errors
    ///
    /// If the server has gone.
    pub async fn send(&mut self, words: &[&str]) -> io::Result<()> {
        // Cancel: busy before the first byte is written, and until the reply is read.
        self.is_busy = true;
        let mut frame = format!("*{}\r\n", words.len());
        for word in words {
            frame.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(frame.as_bytes()).await
    }

    async fn command(&mut self, words: &[&str]) -> io::Result<String> {
        let reply = timeout(REPLY_TIMEOUT, self.ask(words)).await;
        reply.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no reply in time"))?
    }

    /// Sends a command and reads its reply.
    async fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        self.send(words).await?;
        let reply = self.read().await?;
        self.is_busy = false;
        if reply.starts_with('-') {
            Err(unexpected(&reply))
        } else {
            Ok(reply)
        }
    }

    /// Reads one reply: the text of a bulk string, or the line of any other.
    async fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        let Some(length) = line.strip_prefix('$') else {
            return Ok(line);
        };
        let length: usize = length.parse().map_err(|_| unexpected(&line))?;
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).await?;
        text.truncate(length);
        String::from_utf8(text).map_err(io::Error::other)
    }

    /// Whether the server has not closed the socket. One system call that does not block.
    pub(crate) fn is_alive(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.stream.get_ref().as_raw_fd(), &mut byte, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            // A busy connection can have a reply to read.
            Ok(count) => count > 0 && self.is_busy,
            Err(_) => false,
        }
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.is_busy
    }
}

fn pong(reply: &str) -> io::Result<()> {
    if reply == "+PONG" {
        Ok(())
    } else {
        Err(unexpected(reply))
    }
}

fn unexpected(reply: &str) -> io::Error {
    let kind = if reply.starts_with("-NOAUTH") {
        io::ErrorKind::PermissionDenied
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, format!("unexpected reply {reply:?}"))
}

/// As long as the client of the other two pools waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(500);
