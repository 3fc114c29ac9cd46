//! The servers that misbehave: each answers the handshake of MCP, then does something wrong.

use pool_stdio::CommandSpec;

use super::observation::{MARK, Mark};

/// What a server does after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misbehaviour {
    /// It never reads again.
    NeverReads,
    /// It leaves at the end of its input, and a process that it has started lives on.
    LeavesAProcess,
    /// It closes its stdout and lives on.
    ClosesStdout,
    /// It answers the next request without the newline at the end, and leaves.
    AnswersWithoutNewline,
}

impl Misbehaviour {
    /// The marked command of the server.
    pub(super) fn spec(self, mark: &Mark) -> CommandSpec {
        CommandSpec::new("sh")
            .args(["-c", &self.whole_script()])
            .env(MARK, mark.value())
    }

    /// The same for tokio.
    pub(super) fn command(self, mark: &Mark) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-c", &self.whole_script()])
            .env(MARK, mark.value());
        command
    }

    fn whole_script(self) -> String {
        format!("{HANDSHAKE}\n{}", self.script())
    }

    const fn script(self) -> &'static str {
        match self {
            Self::NeverReads => "exec sleep 60",
            Self::LeavesAProcess => "sleep 60 </dev/null >/dev/null 2>&1 &\nexec cat >/dev/null",
            Self::ClosesStdout => "exec sleep 60 >&-",
            Self::AnswersWithoutNewline => {
                r#"read -r line; answer_to "$line"; printf '%s' "$answer""#
            }
        }
    }
}

/// Answers requests with one result that fits all of them, until the client is initialized.
const HANDSHAKE: &str = r#"
answer_to() {
  id=${1#*\"id\":}; id=${id%%[!0-9]*}
  answer="{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"0\"},\"content\":[]}}"
}
while read -r line; do
  case $line in
    *notifications/initialized*) break ;;
  esac
  answer_to "$line"
  printf '%s\n' "$answer"
done"#;
