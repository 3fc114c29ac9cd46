//! How a test starts the program and sees its children.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The program. It is killed when this is dropped.
pub(crate) struct Proxy {
    process: Child,
    /// What it says on stdout after the first line.
    said: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// Sees children come and go. Each connects to it, and holds the connection as long as it lives.
pub(crate) struct Beacon {
    listener: UnixListener,
    pub(crate) path: PathBuf,
}

/// A child that was seen.
pub(crate) struct Sighting {
    pub(crate) pid: i32,
    stream: tokio::io::BufReader<UnixStream>,
}

impl Proxy {
    /// `pool-proxy serve` with this configuration.
    pub(crate) fn configured(text: &str) -> Self {
        Self::with_stderr(text, Stdio::inherit())
    }

    /// The same, with its log there.
    pub(crate) fn with_stderr(text: &str, stderr: Stdio) -> Self {
        let file = scratch("toml");
        std::fs::write(&file, text).unwrap();
        let words = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            file.to_str().unwrap(),
        ];
        let proxy = Self::start(&words, stderr);
        std::fs::remove_file(&file).unwrap();
        proxy
    }

    pub(crate) fn start(words: &[&str], stderr: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pool-proxy"));
        Self::begun(command.args(words).stderr(stderr))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test is no child of a pool"
    )]
    fn begun(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line
            .trim_end()
            .strip_prefix("listening on http://")
            .unwrap();
        let address = address.parse().unwrap();
        Self {
            process,
            said,
            address,
        }
    }

    /// `pool-proxy serve` with this configuration, after this command of a shell, which limits it.
    pub(crate) fn limited(limit: &str, text: &str, stderr: Stdio) -> Self {
        let file = scratch("toml");
        std::fs::write(&file, text).unwrap();
        let proxy = Self::begun(limited(limit, &file).stderr(stderr));
        std::fs::remove_file(&file).unwrap();
        proxy
    }

    /// How it says that it does not start with these limits.
    pub(crate) fn refused(limit: &str, text: &str) -> String {
        let file = scratch("toml");
        std::fs::write(&file, text).unwrap();
        let said = refusal(&mut limited(limit, &file));
        std::fs::remove_file(&file).unwrap();
        said
    }

    /// The next line that it says on stdout.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The pipe that its log goes to.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.process.stderr.take().unwrap()
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Kills it. Its guardian ends its children.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Ends it, and takes all that its log has said. Its stderr must be a pipe.
    pub(crate) async fn log(mut self) -> String {
        let mut log = self.stderr();
        self.terminate();
        assert!(self.ended().await.success());
        let mut said = String::new();
        log.read_to_string(&mut said).unwrap();
        said
    }

    /// How it ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.process.wait().unwrap())
            .await
            .unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The program, started by a shell that limits it first.
fn limited(limit: &str, file: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_pool-proxy");
    let mut command = Command::new("sh");
    let script = format!("{limit} && exec \"$0\" serve --listen 127.0.0.1:0 --config \"$1\"");
    command.args(["-c", &script, program]).arg(file);
    command
}

/// How the program says that it does not start.
pub(crate) fn refused_start(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pool-proxy"));
    refusal(command.args(words))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test is no child of a pool"
)]
fn refusal(command: &mut Command) -> String {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut said = String::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(!process.wait().unwrap().success(), "{said}");
    said
}

impl Beacon {
    pub(crate) fn new() -> Self {
        let path = scratch("socket");
        let listener = UnixListener::bind(&path).unwrap();
        Self { listener, path }
    }

    /// The next child that comes.
    pub(crate) async fn next(&self) -> Sighting {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let pid = line.trim().parse().unwrap();
        Sighting { pid, stream }
    }

    /// The child with this process id.
    pub(crate) async fn child(&self, pid: &str) -> Sighting {
        loop {
            let child = self.next().await;
            if child.pid.to_string() == pid {
                return child;
            }
        }
    }

    /// Resolves when all children that have come are gone.
    pub(crate) async fn all_gone(&self) {
        while let Some(Ok((mut stream, _))) =
            futures_util::FutureExt::now_or_never(self.listener.accept())
        {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    }

    /// Whether no further child has come.
    pub(crate) async fn is_quiet(&self) -> bool {
        let next = futures_util::FutureExt::now_or_never(self.listener.accept());
        next.is_none()
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Sighting {
    /// Resolves when the child is gone, with all its pipes: its stream can end before they do.
    pub(crate) async fn gone(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        while kill(Pid::from_raw(self.pid), None).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// What the child says to the test.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line
    }

    /// Says something to the child.
    pub(crate) async fn tell(&mut self, word: &str) {
        self.stream.write_all(word.as_bytes()).await.unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }
}

/// A configuration with one server, `legacy.py`, and these further lines of its table. A start may take as long as the
/// test, unless they say otherwise.
pub(crate) fn legacy(beacon: &Beacon, lines: &str) -> String {
    let patience = match lines.contains("wait_timeout") {
        true => "",
        false => "wait_timeout = '2m'\n",
    };
    format!(
        "[servers.legacy]\ncommand = ['python3', '{}']\nenv = {{ BEACON = '{}' }}\n{patience}{lines}\n",
        script("legacy.py"),
        beacon.path.display()
    )
}

/// The same with `modern.py`, and with these variables.
pub(crate) fn modern_server(beacon: &Beacon, variables: &[(&str, &str)], lines: &str) -> String {
    let of = |(name, value): &(&str, &str)| format!(", {name} = '{value}'");
    let variables: String = variables.iter().map(of).collect();
    format!(
        "[servers.modern]\ncommand = ['python3', '{}']\nenv = {{ BEACON = '{}'{variables} }}\n{lines}\n",
        script("modern.py"),
        beacon.path.display()
    )
}

pub(crate) fn script(name: &str) -> String {
    format!("{}/tests/servers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A path that nothing else has.
pub(crate) fn scratch(ending: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Short, because the path of a socket may have 107 bytes.
    std::env::temp_dir().join(format!(
        "pool-proxy-{}-{number}.{ending}",
        std::process::id()
    ))
}
