use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::sync::watch;

use super::*;
use crate::entry::EntrySettings;
use crate::input_queue::InputQueue;
use crate::protocol::WhenFull;

/// A cancelled child without time to drain, whose pipes are at their ends.
fn ended_entry(credit: u64) -> Rc<Entry> {
    let settings = EntrySettings {
        kept_bytes_max: 1 << 20,
        when_full: WhenFull::Pause,
        after_exit: AfterExit::End,
        drain_timeout: Duration::ZERO,
        drain_idle: Duration::ZERO,
        timeout: None,
        is_in_session: false,
    };
    let entry = Entry::new(
        "a".to_owned(),
        settings,
        [credit, 0],
        InputQueue::new(Rc::default()),
    );
    let mut state = entry.state();
    state.stop = Some(StopCause {
        reason: "cancelled".to_owned(),
        stop: Stop::Orderly,
    });
    for stream in &mut state.streams {
        stream.end = Some(DrainReport::Whole);
    }
    drop(state);
    Rc::new(entry)
}

#[test]
fn a_drain_without_time_waits_until_the_host_has_read_what_it_granted() {
    let (sender, done) = channel();
    // On a thread of its own: a loop that never waits fails this test, and does not hang it.
    thread::spawn(move || {
        let supervisor = Supervisor::new(1 << 20, watch::channel(true).1);
        let entry = ended_entry(7);
        supervisor.received(&entry, StreamName::Stdout, b"granted and not");
        let mut cx = Context::from_waker(Waker::noop());
        let mut drain = pin!(drain(&supervisor, &entry, [None, None]));
        assert!(drain.as_mut().poll(&mut cx).is_pending());
        let sent = pin!(supervisor.next_batch()).poll(&mut cx);
        let Poll::Ready(Some(batch)) = sent else {
            panic!("there is something to send");
        };
        assert!(String::from_utf8(batch).unwrap().contains(r#""granted""#));
        assert!(drain.as_mut().poll(&mut cx).is_ready());
        let totals = entry.state().stream(StreamName::Stdout).kept.totals();
        sender.send((totals.sent, totals.cut)).unwrap();
    });
    let told = done.recv_timeout(Duration::from_secs(60));
    assert_eq!(told, Ok((7, 8)));
}
