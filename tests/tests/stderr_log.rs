//! The lines that children write to stderr, as log events.
//!
//! This test is in a process of its own: a thread of the process layer logs the lines, so only a global
//! subscriber gets them.

#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};

use common::{AMPLE, Scene};
use pool_stdio::{LineSink, Stop};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::block_on;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The fields of an event, as text.
#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

struct Forward(Sender<(Level, Fields)>);

impl<S: Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        if event.metadata().target() != "pool_stdio::stderr" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let told = (*event.metadata().level(), fields);
        self.0.send(told).expect("the test keeps the receiver");
    }
}

#[test]
fn lines_of_stderr_are_events_with_the_process_id() {
    let (sender, told) = channel();
    let subscriber = tracing_subscriber::registry().with(Forward(sender));
    tracing::subscriber::set_global_default(subscriber)
        .expect("no other test in this process sets one");
    let scene = Scene::new();
    let behaviour = Behaviour::new()
        .print_error("one\ntwo \u{e9}\nno end")
        .read_to_end();
    let child = scene.spawn_spec(scene.spec(&behaviour).stderr_lines(LineSink::Tracing));
    let pid = child.pid().to_string();
    // The last line has no line end, so it is complete only when the child has ended.
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(end.stderr.text, "one\ntwo \u{e9}\nno end");
    for line in ["one", "two \u{e9}", "no end"] {
        let (level, fields) = told.recv_timeout(AMPLE).expect("every line is logged");
        let expected = [
            ("line", format!("{line:?}")),
            ("pid", pid.clone()),
            ("skipped", "0".to_owned()),
        ];
        assert_eq!((level, fields.0), (Level::INFO, BTreeMap::from(expected)));
    }
    scene.end(Vec::new());
}
