//! Which clients of a key are told of which resources.
//!
//! Children do not know clients. A resource with a subscriber is wanted of all children of the key, and the
//! first answer of one of them is that of the subscriber. Without one, it is wanted no longer.
//!
//! # Invariants
//!
//! 1. An update reaches the subscribers of its resource, and nobody else.
//! 2. A subscriber that does not read costs one entry for each resource that was updated.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::AcquireError;
use pool_stdio::ErrorObject;
use tokio::sync::{Notify, watch};

use crate::guard::Principal;

/// What the clients of a key have subscribed to.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
    /// Counts the changes of which resources are wanted.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Arc<str>, Topic>,
    /// How many topics each principal owns.
    owned: HashMap<Principal, usize>,
    /// The number of the next topic or subscriber.
    next: u64,
    /// Whether a task holds a child for the topics.
    has_keeper: bool,
}

/// A resource with a subscriber.
#[derive(Debug)]
struct Topic {
    number: u64,
    /// Of one of its subscribers.
    owner: Principal,
    subscribers: HashMap<u64, Arc<Mailbox>>,
    answer: watch::Sender<Option<Subscribed>>,
}

type Subscribed = Result<(), NotSubscribed>;

/// Why a client has no subscription.
#[derive(Debug, Clone)]
pub(crate) enum NotSubscribed {
    /// A child says so.
    Refused(ErrorObject),
    NoChild(AcquireError),
    /// No child has answered in time.
    Late,
    /// It has as many as it may have, or the URI is too long.
    TooMany,
    /// No child lives for longer than a request.
    NotOffered,
}

/// A client that can subscribe. Dropping it ends its subscriptions.
pub(crate) struct Subscriber {
    number: u64,
    subscriptions: Arc<Subscriptions>,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
struct Mailbox {
    principal: Principal,
    kept: Mutex<KeptMessages>,
    news: Notify,
}

#[derive(Debug, Default)]
struct KeptMessages {
    subscribed: BTreeSet<Arc<str>>,
    /// Of these no child has answered yet.
    unsettled: HashMap<Arc<str>, Unsettled>,
    /// Of which it was not told yet.
    updated: BTreeSet<Arc<str>>,
}

/// A subscription that several requests of one client can wait for.
#[derive(Debug)]
struct Unsettled {
    number: u64,
    waiting: usize,
}

/// A subscription whose answer is awaited. Dropping the last one of these ends it, unless a child has
/// agreed.
pub(super) struct Joined<'s> {
    subscriber: &'s Subscriber,
    uri: &'s str,
    answer: watch::Receiver<Option<Subscribed>>,
    /// Which subscription is not settled.
    number: Option<u64>,
}

impl Subscriptions {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// A client of this principal, without subscriptions.
    pub(super) fn subscriber(self: &Arc<Self>, principal: &Principal) -> Subscriber {
        Subscriber {
            number: self.lock().number(),
            subscriptions: Arc::clone(self),
            mailbox: Arc::new(Mailbox {
                principal: principal.clone(),
                kept: Mutex::default(),
                news: Notify::new(),
            }),
        }
    }

    /// Tells of changes of which resources are [wanted](Self::wanted).
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The resources that children have to be subscribed to, with a number: it is another one for a resource
    /// that was not wanted meanwhile.
    pub(super) fn wanted(&self) -> HashMap<Arc<str>, u64> {
        let state = self.lock();
        let topics = state.topics.iter();
        topics
            .map(|(uri, topic)| (Arc::clone(uri), topic.number))
            .collect()
    }

    /// A child has answered for this resource.
    pub(super) fn answered(&self, uri: &str, number: u64, answer: Result<(), ErrorObject>) {
        let state = self.lock();
        if let Some(topic) = state.topics.get(uri)
            && topic.number == number
        {
            topic.answer(answer.map_err(NotSubscribed::Refused));
        }
    }

    /// There is no child to ask.
    pub(super) fn no_child(&self, error: &AcquireError) {
        for topic in self.lock().topics.values() {
            topic.answer(Err(NotSubscribed::NoChild(error.clone())));
        }
    }

    /// A child tells of an update. It may be one of a part of the resource that was subscribed to.
    pub(super) fn updated(&self, uri: &str) {
        let state = self.lock();
        let uri: Arc<str> = uri.into();
        // Another client named it: who subscribed to a whole is told of the whole only.
        let is_named = state.topics.contains_key(&uri);
        for (name, topic) in state.topics.iter().filter(|(name, _)| covers(name, &uri)) {
            for mailbox in topic.subscribers.values() {
                mailbox.tell(name, if is_named { name } else { &uri });
            }
        }
    }

    /// Whether the caller has to hold a child for the topics from now on.
    pub(super) fn take_keeper(&self) -> bool {
        !std::mem::replace(&mut self.lock().has_keeper, true)
    }

    /// Resolves when no child has to be held any more.
    pub(super) async fn unneeded(&self) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            {
                let mut state = self.lock();
                if state.topics.is_empty() {
                    state.has_keeper = false;
                    return;
                }
            }
            // Fails only without a sender, which is here.
            drop(changes.changed().await);
        }
    }

    fn leave(&self, number: u64, uri: &str) {
        let mut state = self.lock();
        let Some(topic) = state.topics.get_mut(uri) else {
            return;
        };
        topic.subscribers.remove(&number);
        let before = topic.owner.clone();
        let next = topic.next_owner();
        match &next {
            Some(owner) => topic.owner = owner.clone(),
            None => drop(state.topics.remove(uri)),
        }
        state.disown(&before);
        match next {
            Some(owner) => *state.owned.entry(owner).or_default() += 1,
            None => {
                drop(state);
                self.changes.send_modify(|changes| *changes += 1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether a principal can own one more topic: no more than are left for others, so that however many it wants,
    /// there is room.
    fn has_room_for(&self, principal: &Principal) -> bool {
        let owned = self.owned.get(principal).copied().unwrap_or_default();
        owned < TOPICS_MAX.saturating_sub(self.topics.len())
    }

    fn disown(&mut self, principal: &Principal) {
        if let Some(owned) = self.owned.get_mut(principal) {
            *owned -= 1;
            if *owned == 0 {
                self.owned.remove(principal);
            }
        }
    }
}

impl Topic {
    /// Its owner, as long as that has a subscriber; then the principal of another one; then nobody.
    fn next_owner(&self) -> Option<Principal> {
        let mut others = self.subscribers.values().map(|mailbox| &mailbox.principal);
        let any = others.next()?;
        let is_kept = *any == self.owner || others.any(|other| *other == self.owner);
        Some(if is_kept { &self.owner } else { any }.clone())
    }

    /// The first answer counts.
    fn answer(&self, answer: Subscribed) {
        self.answer.send_if_modified(|kept| {
            let is_first = kept.is_none();
            if is_first {
                *kept = Some(answer);
            }
            is_first
        });
    }
}

impl Subscriber {
    /// Wants to be told of a resource.
    pub(super) fn join<'s>(&'s self, uri: &'s str) -> Result<Joined<'s>, NotSubscribed> {
        let subscriptions = &self.subscriptions;
        let mut state = subscriptions.lock();
        let shared: Arc<str> = uri.into();
        let is_known = state.topics.contains_key(uri);
        let principal = &self.mailbox.principal;
        if !is_known && !state.has_room_for(principal) {
            return Err(NotSubscribed::TooMany);
        }
        let unsettled = {
            let mut kept = self.mailbox.lock();
            let is_new = !kept.subscribed.contains(uri);
            if is_new && (kept.subscribed.len() >= SUBSCRIPTIONS_MAX || uri.len() > URI_BYTES_MAX) {
                return Err(NotSubscribed::TooMany);
            }
            kept.subscribed.insert(Arc::clone(&shared));
            if is_new {
                let first = Unsettled {
                    number: state.number(),
                    waiting: 0,
                };
                kept.unsettled.insert(Arc::clone(&shared), first);
            }
            kept.unsettled.get_mut(uri).map(|unsettled| {
                unsettled.waiting += 1;
                unsettled.number
            })
        };
        let number = state.number();
        if !is_known {
            *state.owned.entry(principal.clone()).or_default() += 1;
        }
        let topic = state.topics.entry(shared).or_insert_with(|| Topic {
            number,
            owner: principal.clone(),
            subscribers: HashMap::new(),
            answer: watch::Sender::new(None),
        });
        topic
            .subscribers
            .insert(self.number, Arc::clone(&self.mailbox));
        let answer = topic.answer.subscribe();
        drop(state);
        if !is_known {
            subscriptions.changes.send_modify(|changes| *changes += 1);
        }
        Ok(Joined {
            subscriber: self,
            uri,
            answer,
            number: unsettled,
        })
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&self, uri: &str) {
        let mut kept = self.mailbox.lock();
        let was_subscribed = kept.subscribed.remove(uri);
        kept.unsettled.remove(uri);
        kept.updated.retain(|updated| !covers(uri, updated));
        drop(kept);
        if was_subscribed {
            self.subscriptions.leave(self.number, uri);
        }
    }

    /// The URI of a resource that was updated. Several updates of one count as one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&self) -> Arc<str> {
        loop {
            let news = self.mailbox.news.notified();
            if let Some(uri) = self.mailbox.lock().updated.pop_first() {
                return uri;
            }
            news.await;
        }
    }
}

impl Joined<'_> {
    /// Resolves to the answer of a child.
    pub(super) async fn answer(mut self) -> Subscribed {
        let answer = self.answer.wait_for(Option::is_some).await;
        // The topic lasts as long as this.
        let answer = answer.map_or(Err(NotSubscribed::Late), |answer| {
            answer.clone().unwrap_or(Err(NotSubscribed::Late))
        });
        if answer.is_ok()
            && let Some(number) = self.number.take()
        {
            self.subscriber.mailbox.lock().note_agreed(self.uri, number);
        }
        answer
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && self.subscriber.mailbox.lock().give_up(self.uri, number)
        {
            self.subscriber.unsubscribe(self.uri);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let subscribed = std::mem::take(&mut self.mailbox.lock().subscribed);
        for uri in subscribed {
            self.subscriptions.leave(self.number, &uri);
        }
    }
}

impl KeptMessages {
    /// A child has agreed to this subscription.
    fn note_agreed(&mut self, uri: &str, number: u64) {
        let unsettled = self.unsettled.get(uri);
        if unsettled.is_some_and(|unsettled| unsettled.number == number) {
            self.unsettled.remove(uri);
        }
    }

    /// A request does not wait any more. Returns whether it was the last one of this subscription.
    fn give_up(&mut self, uri: &str, number: u64) -> bool {
        let unsettled = self.unsettled.get_mut(uri);
        unsettled
            .filter(|it| it.number == number)
            .is_some_and(|it| {
                it.waiting -= 1;
                it.waiting == 0
            })
    }
}

impl Mailbox {
    fn tell(&self, name: &Arc<str>, uri: &Arc<str>) {
        let mut kept = self.lock();
        // A server can name any number of parts of one resource, however long. Then the whole has changed.
        let is_much = kept.updated.len() >= SUBSCRIPTIONS_MAX || uri.len() > URI_BYTES_MAX;
        let told = if is_much { name } else { uri };
        kept.updated.insert(Arc::clone(told));
        drop(kept);
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, KeptMessages> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an update of `uri` concerns who has subscribed to `topic`: it is the same, or a part of it.
fn covers(topic: &str, uri: &str) -> bool {
    uri.strip_prefix(topic).is_some_and(|rest| {
        rest.is_empty() || topic.ends_with('/') || rest.starts_with(['/', '?', '#'])
    })
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Of one session or stream: more than a client shows at a time.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1024;
/// How many resources all clients of a key can be subscribed to. One principal can have as many of them as are left.
const TOPICS_MAX: usize = 8192;
/// As long as most programs take.
const URI_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
