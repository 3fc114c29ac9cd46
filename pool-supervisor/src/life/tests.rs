use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::*;
use crate::departure::Departure;
use crate::entry::EntrySettings;
use crate::input_queue::InputQueue;
use crate::protocol::WhenFull;

/// A cancelled child whose pipes are at their ends.
fn ended_entry(credit: u64, drain_time: Duration) -> Rc<Entry> {
    let settings = EntrySettings {
        kept_bytes_max: 1 << 20,
        when_full: WhenFull::Pause,
        after_exit: AfterExit::End,
        drain_timeout: drain_time,
        drain_idle: drain_time,
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
        let entry = ended_entry(7, Duration::ZERO);
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

#[tokio::test(start_paused = true)]
async fn a_shutdown_counts_as_cut_what_the_host_neither_grants_nor_reads() {
    let act = async {
        let supervisor = Rc::new(Supervisor::new(1 << 20, watch::channel(true).1));
        let entry = ended_entry(7, Duration::from_secs(3600));
        supervisor.received(&entry, StreamName::Stdout, b"granted and not");
        supervisor.add(Rc::clone(&entry));
        let departure = Departure::new(Rc::clone(&supervisor));
        let leaving = departure.shut_down(Duration::ZERO);
        let drained = {
            let (supervisor, entry) = (Rc::clone(&supervisor), Rc::clone(&entry));
            spawn_local(async move {
                drain(&supervisor, &entry, [None, None]).await;
                supervisor.remove(&entry);
            })
        };
        leaving.await;
        assert!(drained.is_finished(), "the answer comes after that");
        let totals = entry.state().stream(StreamName::Stdout).kept.totals();
        assert_eq!(
            (totals.sent, totals.cut, supervisor.kept_total()),
            (0, 15, 0)
        );
    };
    LocalSet::new().run_until(act).await;
}
