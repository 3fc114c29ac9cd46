//! What a connection sends by itself: cancel notifications and answers. It never waits for room.

use std::sync::MutexGuard;

use super::{Link, LinkSettings};
use crate::process::lock;
use crate::rpc::framing::Frame;
use crate::rpc::outbox::FrameBudget;
use crate::rpc::state::LinkState;
use crate::rpc::table::CallId;

impl Link {
    /// Sends a message of the connection's own. If there is no place for it, it is dropped and counted.
    pub(in crate::rpc) fn send_now(&self, mut frame: Frame) {
        let mut state = lock(&self.state);
        if self.push_now(&mut state, &mut frame) {
            unlock_and_wake_driver(state);
        }
    }

    /// Queues a message of the connection's own, if there is a place for it. Then the driver must be woken.
    pub(super) fn push_now(&self, state: &mut LinkState, frame: &mut Frame) -> bool {
        if !state.is_open() {
            return false;
        }
        let Ok(place) = self.own_places.try_acquire() else {
            state.count_unsent();
            return false;
        };
        // The queued frame occupies the place from here on.
        place.forget();
        state.queue.push(None, FrameBudget::Ours, frame);
        true
    }

    /// Tells the child to cancel a call that goes on, once, and not before it was queued. If there is no place for
    /// that, the next cancel of the call tries again.
    pub(in crate::rpc) fn send_cancel(&self, call: CallId) {
        let Some(mut frame) = self.cancel_frame(call) else {
            return;
        };
        let mut state = lock(&self.state);
        if state.can_cancel(call) && self.push_now(&mut state, &mut frame) {
            // Order: only once it is queued, or a cancel without a place would be lost for good.
            state.note_cancelled(call);
            unlock_and_wake_driver(state);
        }
    }

    /// Sends a message of the connection's own. One that is too long is dropped and counted.
    pub(in crate::rpc) fn send_text(&self, message: Vec<u8>) {
        match self.own_frame(message) {
            Some(frame) => self.send_now(frame),
            None => lock(&self.state).count_unsent(),
        }
    }

    pub(super) fn cancel_frame(&self, call: CallId) -> Option<Frame> {
        self.own_frame(self.settings.cancel.message(call)?.into_bytes())
    }

    pub(super) fn own_frame(&self, message: Vec<u8>) -> Option<Frame> {
        let LinkSettings {
            framing,
            frame_bytes_max,
            ..
        } = self.settings;
        Frame::of(framing, frame_bytes_max, message).ok()
    }
}

/// The driver must write what was queued, unless it runs anyway.
pub(super) fn unlock_and_wake_driver(mut state: MutexGuard<'_, LinkState>) {
    let driver = state.driver_to_wake();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}
