//! A Redis server that a trial can kill, restart, stop and continue.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::RedisConnection;

/// A server on the loopback interface, without persistence. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    options: &'static [&'static str],
    child: Child,
}

impl Server {
    /// Starts a server with these options beside its own. `None`, with a line on stderr, if there is no
    /// program `redis-server`.
    ///
    /// # Errors
    ///
    /// If the server does not start, or does not answer within ten seconds.
    #[expect(clippy::print_stderr, reason = "a trial that is skipped must say so")]
    pub async fn start(options: &'static [&'static str]) -> io::Result<Option<Self>> {
        // The port is free again when the listener is dropped, and nobody else is given it soon.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        match spawn(address, options) {
            Ok(child) => {
                let server = Self {
                    address,
                    options,
                    child,
                };
                server.ready().await?;
                Ok(Some(server))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!(
                    "SKIPPED: there is no program `redis-server`; .ci/redis-server installs it"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the server with SIGKILL and waits for its end.
    ///
    /// # Errors
    ///
    /// If the system does not allow it.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Starts the server again at the same address, after a kill. Returns once it answers.
    ///
    /// # Errors
    ///
    /// If it does not start, or does not answer within ten seconds.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.child = spawn(self.address, self.options)?;
        self.ready().await
    }

    /// Stops the server with SIGSTOP: it accepts connections, and answers nothing.
    ///
    /// # Errors
    ///
    /// If the server has ended.
    pub fn stop(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets the server go on after a stop.
    ///
    /// # Errors
    ///
    /// If the server has ended.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        kill(Pid::from_raw(pid), signal)?;
        Ok(())
    }

    async fn ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            let connecting = timeout_at(deadline, RedisConnection::connect(self.address));
            match connecting.await? {
                Ok(_) => return Ok(()),
                // It answers that it wants a password.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                // There is no event for it: the time between two looks.
                Err(_) => sleep(READY_STEP).await,
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server is the other side, not a connection of a pool"
)]
fn spawn(address: SocketAddr, options: &[&str]) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

const READY_MAX: Duration = Duration::from_secs(10);
const READY_STEP: Duration = Duration::from_millis(5);
