//! Callers are woken outside of all locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use serde_json::{Value, json};

use super::{OurEnd, Setup};
use crate::rpc::link::Link;
use crate::rpc::notifications::Progress;

/// Finds out, when it is woken, whether the link can be used meanwhile.
struct Prober {
    link: Arc<Link>,
    probe: fn(&Link),
    is_locked: AtomicBool,
}

impl Wake for Prober {
    fn wake(self: Arc<Self>) {
        let (done, waiting) = mpsc::channel();
        let prober = Arc::clone(&self);
        std::thread::spawn(move || {
            (prober.probe)(&prober.link);
            done.send(()).unwrap_or_default();
        });
        let is_locked = waiting.recv_timeout(Duration::from_secs(10)).is_err();
        self.is_locked.fetch_or(is_locked, Ordering::Relaxed);
    }
}

fn prober(line: &OurEnd, probe: fn(&Link)) -> Arc<Prober> {
    Arc::new(Prober {
        link: Arc::clone(&line.client.link),
        probe,
        is_locked: AtomicBool::new(false),
    })
}

#[tokio::test]
async fn who_waits_for_room_is_woken_outside_of_all_locks() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    setup.settings.queue_max = 1;
    let (line, mut peer) = setup.open();
    let caller = line.client.clone();
    let first = tokio::task::spawn(async move { caller.call::<Value>("m", &json!([1])).await });
    while line.client.link.free_places() > 0 {
        tokio::task::yield_now().await;
    }
    let prober = prober(&line, |link| assert!(link.written_total() > 0));
    let client = line.client.clone();
    let mut second = Box::pin(async move { client.notify("second", &()).await });
    let waker = Waker::from(Arc::clone(&prober));
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    peer.echo().await;
    first.await.unwrap().unwrap();
    assert!(!prober.is_locked.load(Ordering::Relaxed));
    second.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_progress_is_woken_outside_of_all_locks() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notifications) = Progress::channel(1);
    let prober = prober(&line, |link| assert!(link.state().status().pending < 2));
    let mut end = Box::pin(async move { notifications.recv().await.is_none() });
    let waker = Waker::from(Arc::clone(&prober));
    assert!(
        end.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let call = line.client.call::<Value>("m", &()).progress(progress);
    let (outcome, _) = tokio::join!(call, async {
        let id = peer.message().await["id"].clone();
        peer.reply(&id, 1).await;
    });
    outcome.unwrap();
    assert!(end.await);
    assert!(!prober.is_locked.load(Ordering::Relaxed));
}
