//! Which calls are pending, and what becomes of what comes for them. A plain data structure:
//! no lock, no clock, no wake-up of its own.
//!
//! # Invariants
//!
//! 1. A number is begun once. It means a call, or a progress token of one.
//! 2. A call is answered at most once; whatever else comes for its number is counted and dropped.
//! 3. A call that was given up leaves a tombstone, so that its late reply is known as such. There
//!    are at most [`TOMBSTONES_MAX`]; the reply of a call whose tombstone has gone counts as a
//!    duplicate, and meets nobody all the same.
//! 4. A token lives exactly as long as its call.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::notifications::Progress;
use super::scan::{Envelope, Span};

/// The number of a call on its connection.
pub(super) type CallId = u64;

/// The reply to a call: an object, and where its members are. Small, since it goes from hand to hand.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    message: Bytes,
    id: Span,
    /// The error if there is one, otherwise the result.
    body: Span,
    is_error: bool,
}

impl Reply {
    pub(super) fn new(message: Bytes, envelope: &Envelope) -> Self {
        Self {
            id: envelope.id.unwrap_or_default(),
            body: envelope.error.or(envelope.result).unwrap_or_default(),
            is_error: envelope.error.is_some(),
            message,
        }
    }

    pub(super) const fn message(&self) -> &Bytes {
        &self.message
    }

    /// Where the id is.
    pub(super) const fn id(&self) -> Span {
        self.id
    }

    /// What was answered, as a result or as an error.
    pub(super) fn answer(&self) -> Result<&[u8], &[u8]> {
        let body = self.body.of(&self.message);
        if self.is_error { Err(body) } else { Ok(body) }
    }
}

/// Why a reply reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnclaimedReply {
    /// The call had been given up.
    Late,
    /// The call had been answered.
    Duplicate,
    /// There never was such a call.
    Unknown,
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    calls: HashMap<CallId, Call, BuildHasherDefault<NumberHasher>>,
    tokens: BTreeMap<u64, Token>,
    tombstones: BTreeSet<CallId>,
    /// Calls without a reply.
    unanswered: usize,
}

#[derive(Debug, Default)]
struct Call {
    waker: Option<Waker>,
    reply: Option<Reply>,
    progress: Option<Progress>,
    tokens: Vec<u64>,
    is_ping: bool,
}

/// A progress token that stands for one of the caller's.
#[derive(Debug)]
struct Token {
    call: CallId,
    original: Bytes,
}

impl Table {
    /// Begins a call under a number of its own. The waker, if any, is that of who waits for it.
    pub(super) fn begin(&mut self, id: CallId, progress: Option<Progress>, waker: Option<Waker>) {
        let call = Call {
            waker,
            progress,
            ..Call::default()
        };
        self.unanswered += 1;
        let earlier = self.calls.insert(id, call);
        debug_assert!(earlier.is_none(), "invariant broken: call {id} began twice");
    }

    /// Lets a token stand for a caller's own until the call is over.
    pub(super) fn add_token(&mut self, call: CallId, token: u64, original: Bytes) {
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.tokens.push(token);
            self.tokens.insert(token, Token { call, original });
        }
    }

    /// Notes that nothing is worked on for this call: it only asks for a sign of life.
    pub(super) fn note_ping(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.is_ping = true;
        }
    }

    pub(super) fn is_ping(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| call.is_ping)
    }

    /// Whether a call is pending that is no ping.
    pub(super) fn has_work(&self) -> bool {
        self.calls.values().any(|call| !call.is_ping)
    }

    /// Takes a reply; numbers below `issued` have been given. The waker, if any, is to be woken
    /// outside of all locks.
    pub(super) fn settle(
        &mut self,
        id: CallId,
        reply: Reply,
        issued: u64,
    ) -> Result<Option<Waker>, UnclaimedReply> {
        match self.calls.get_mut(&id) {
            Some(call) if call.reply.is_none() => {
                call.reply = Some(reply);
                self.unanswered -= 1;
                Ok(call.waker.take())
            }
            Some(_) => Err(UnclaimedReply::Duplicate),
            None if self.tombstones.remove(&id) => Err(UnclaimedReply::Late),
            None if id < issued => Err(UnclaimedReply::Duplicate),
            None => Err(UnclaimedReply::Unknown),
        }
    }

    /// The reply, once it is there; the call is over then. Who listens for its progress is told so
    /// by the drop of what comes with it, outside of all locks.
    pub(super) fn poll(&mut self, id: CallId, cx: &Context<'_>) -> Poll<(Reply, Option<Progress>)> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Poll::Pending;
        };
        if let Some(reply) = call.reply.take() {
            return Poll::Ready((reply, self.end(id)));
        }
        if !call
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            call.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Gives a call up. Says whether its reply may still come, and returns what is to be dropped
    /// outside of all locks.
    pub(super) fn abandon(&mut self, id: CallId, was_sent: bool) -> (bool, Option<Progress>) {
        let is_unanswered = self.calls.get(&id).is_some_and(|call| call.reply.is_none());
        self.unanswered -= usize::from(is_unanswered);
        let is_owed = was_sent && is_unanswered;
        let progress = self.end(id);
        if is_owed {
            self.tombstones.insert(id);
            if self.tombstones.len() > TOMBSTONES_MAX {
                self.tombstones.pop_first();
            }
        }
        (is_owed, progress)
    }

    fn end(&mut self, id: CallId) -> Option<Progress> {
        let call = self.calls.remove(&id)?;
        for token in call.tokens {
            self.tokens.remove(&token);
        }
        call.progress
    }

    /// Whom a progress token concerns, and what it was before.
    pub(super) fn progress(&self, token: u64) -> Option<(&Progress, &Bytes)> {
        let token = self.tokens.get(&token)?;
        let progress = self.calls.get(&token.call)?.progress.as_ref()?;
        Some((progress, &token.original))
    }

    /// Everybody who waits, to be woken because nothing will come any more.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let calls = self.calls.values_mut();
        calls.filter_map(|call| call.waker.take()).collect()
    }

    /// Whether a call has no reply.
    pub(super) const fn is_awaited(&self) -> bool {
        self.unanswered > 0
    }

    /// Calls that are not over.
    pub(super) fn pending(&self) -> usize {
        self.calls.len()
    }

    /// Calls that were given up and may still be worked on.
    pub(super) fn abandoned(&self) -> usize {
        self.tombstones.len()
    }
}

/// Spreads numbers that we count up ourselves: nobody else can choose them.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(GOLDEN).rotate_left(26);
    }
}

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// More would only tell very late replies from duplicates.
pub(super) const TOMBSTONES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn reply() -> Reply {
        Reply::new(Bytes::new(), &Envelope::default())
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Abandon(u64, bool),
        Settle(u64),
        Take(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Begin),
            (0..12_u64, any::<bool>()).prop_map(|(id, sent)| Step::Abandon(id, sent)),
            (0..12_u64).prop_map(Step::Settle),
            (0..12_u64).prop_map(Step::Take),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn every_reply_meets_its_call_or_is_told_why_not(steps in steps()) {
            let mut table = Table::default();
            let cx = Context::from_waker(Waker::noop());
            let (mut waiting, mut answered) = (HashSet::new(), HashSet::new());
            let mut given_up = HashSet::new();
            let mut issued = 0;
            for step in steps {
                match step {
                    Step::Begin => {
                        table.begin(issued, None, None);
                        waiting.insert(issued);
                        issued += 1;
                    }
                    Step::Abandon(id, sent) => {
                        let (is_owed, _) = table.abandon(id, sent);
                        let was_waiting = waiting.remove(&id);
                        answered.remove(&id);
                        prop_assert_eq!(is_owed, was_waiting && sent);
                        if is_owed {
                            given_up.insert(id);
                        }
                    }
                    Step::Settle(id) => {
                        let expected = if waiting.remove(&id) {
                            answered.insert(id);
                            Ok(())
                        } else if given_up.remove(&id) {
                            Err(UnclaimedReply::Late)
                        } else if id < issued {
                            Err(UnclaimedReply::Duplicate)
                        } else {
                            Err(UnclaimedReply::Unknown)
                        };
                        prop_assert_eq!(table.settle(id, reply(), issued).map(drop), expected);
                    }
                    Step::Take(id) => {
                        let is_ready = table.poll(id, &cx).is_ready();
                        prop_assert_eq!(is_ready, answered.remove(&id));
                    }
                }
                prop_assert_eq!(table.pending(), waiting.len() + answered.len());
                prop_assert_eq!(table.is_awaited(), !waiting.is_empty());
                prop_assert_eq!(table.abandoned(), given_up.len());
            }
        }
    }

    #[test]
    fn tombstones_are_bounded_and_the_oldest_goes_first() {
        let mut table = Table::default();
        let count = TOMBSTONES_MAX as u64 + 1;
        for id in 0..count {
            table.begin(id, None, None);
            assert!(table.abandon(id, true).0);
        }
        assert_eq!(table.abandoned(), TOMBSTONES_MAX);
        assert_eq!(
            table.settle(0, reply(), count).unwrap_err(),
            UnclaimedReply::Duplicate
        );
        assert_eq!(
            table.settle(1, reply(), count).unwrap_err(),
            UnclaimedReply::Late
        );
    }

    #[test]
    fn a_token_lives_as_long_as_its_call() {
        let mut table = Table::default();
        let (progress, _notices) = Progress::channel(1);
        table.begin(0, Some(progress), None);
        table.add_token(0, 1, Bytes::from_static(b"\"mine\""));
        assert_eq!(table.progress(1).unwrap().1, "\"mine\"");
        drop(table.abandon(0, true));
        assert!(table.progress(1).is_none());
        assert!(table.tokens.is_empty());
    }
}
