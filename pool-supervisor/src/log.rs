//! The log: lines on stderr. A host that does not read them loses lines, and stops nothing.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Logs a line, unless too many wait.
pub(crate) fn line(text: &str) {
    static LINES: OnceLock<Option<SyncSender<String>>> = OnceLock::new();
    if let Some(lines) = LINES.get_or_init(start) {
        let (Ok(()) | Err(_)) = lines.try_send(format!("pool-supervisor: {text}\n"));
    }
}

fn start() -> Option<SyncSender<String>> {
    let (sender, lines) = sync_channel::<String>(LINES_WAITING_MAX);
    let write = move || {
        for line in lines {
            if io::stderr().write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("log".to_owned()).spawn(write);
    thread.ok().map(|_| sender)
}

/// Brings the warnings of the process layer into the log.
pub(crate) fn install() {
    let (Ok(()) | Err(_)) = tracing::subscriber::set_global_default(Warnings);
}

struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // That a child has exited is told to the host by other means.
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        line(text.0.trim_start());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let (Ok(()) | Err(_)) = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

const LINES_WAITING_MAX: usize = 256;
