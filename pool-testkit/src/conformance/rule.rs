//! The rules of connectors: the name of each, what it demands, and how a connector that breaks it is
//! repaired.

use std::fmt;

/// One table, so that a rule cannot be without a name, a demand and a repair, nor be left out of
/// [`Rule::ALL`].
macro_rules! rules {
    ($($rule:ident $name:literal demands $demand:literal repair $repair:literal)*) => {
        /// A rule that a connector keeps. `Display` is its name.
        ///
        /// # Examples
        ///
        /// ```
        /// use pool_testkit::conformance::Rule;
        ///
        /// // The name of the test that the macro makes of it.
        /// assert_eq!(Rule::DiedWaits.to_string(), "died_waits");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $demand] $rule,)*
        }

        impl Rule {
            /// Every rule, in the order of a connection's life. The last ones are about connections
            /// that serve many callers at once.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// How many rules every connector keeps. The others are for a
            /// [shared](super::Subject::shared) one.
            pub(super) const EXCLUSIVE: usize = Self::SharedExchangesAreApart as usize;

            /// The name, which is also that of the test that the macro makes of it.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// What it demands, as a sentence.
            pub(super) const fn demands(self) -> &'static str {
                match self { $(Self::$rule => $demand,)* }
            }

            /// How a connector that breaks it is usually repaired, as a sentence.
            pub(super) const fn repair(self) -> &'static str {
                match self { $(Self::$rule => $repair,)* }
            }
        }
    };
}

rules! {
    Connects "connects"
        demands "Each connect opens a connection of its own, which is alive, clean and in need of \
                 no reset."
        repair "Finish every greeting inside `connect`, and share nothing between connections."
    ConnectIsCancelSafe "connect_is_cancel_safe"
        demands "A connect that is dropped at any await leaves nothing open."
        repair "Give everything that `connect` opens to a value whose `Drop` closes it, before the \
                next await."
    ConnectKeepsDeadline "connect_keeps_deadline"
        demands "A connect whose peer does not answer fails by its deadline (half a second more is \
                 allowed), as transient, and leaves nothing open."
        repair "Wrap every await of `connect` in `tokio::time::timeout_at(cx.deadline, ..)`, and \
                make the elapsed time a `ConnectError::transient`."
    PermanentFailureIsReported "permanent_failure_is_reported"
        demands "A failure that every attempt will have is a `ConnectError::permanent`."
        repair "Use `ConnectError::permanent` for what only a person can change: no such program, no such \
                path, refused credentials."
    TransientFailureIsReported "transient_failure_is_reported"
        demands "A failure that a later attempt may not have is a `ConnectError::transient`."
        repair "Use `ConnectError::transient` for what passes by itself: refused, reset, out of \
                descriptors. A permanent error fails waiting callers at once."
    IsAliveSeesDeath "is_alive_sees_death"
        demands "`is_alive` is true of a live connection, and false soon after its other side died, \
                 without traffic."
        repair "Look for the end of the stream without waiting: a flag that a reader sets, or a read \
                that does not block."
    QueriesAreCheap "queries_are_cheap"
        demands "`is_alive`, `is_clean` and `needs_reset` return at once, change nothing, and need \
                 no runtime."
        repair "Read a flag or make one system call that does not block; leave the rest to `check`."
    DiedResolves "died_resolves"
        demands "Each future of `died` resolves soon after the other side died, without traffic, and \
                 whether or not others wait for it too."
        repair "Wait on a state, not on an event that only one waiter gets: a `watch`, or \
                `Notify::notify_waiters` with a flag."
    DiedWaits "died_waits"
        demands "No future of `died` resolves while the connection lives."
        repair "Resolve on the end of the other side alone, not on traffic or on a timer."
    ExchangeLeavesClean "exchange_leaves_clean"
        demands "A connection on which an exchange was completed is alive and clean."
        repair "Remove the mark of an unfinished request once its answer was read as a whole."
    CancelledExchangeIsNotReused "cancelled_exchange_is_not_reused"
        demands "A connection whose exchange was dropped at any await is not clean, or is made clean \
                 by `reset`, or answers the next exchange with the next answer."
        repair "Mark the connection before the first byte of a request is written, and remove \
                the mark after the last byte of its answer was read."
    DirtIsSeen "dirt_is_seen"
        demands "A connection that was made dirty shows it: `is_clean` is false or `needs_reset` is true."
        repair "Derive `is_clean` from the state of the protocol: nothing unread, nothing open."
    ResetIsHonest "reset_is_honest"
        demands "After a successful `reset` the connection needs none, is clean, and answers the next \
                 exchange with its own answer. The `reset` of a clean connection succeeds."
        repair "Return an error when the connection cannot be brought back to its first state: the \
                pool then closes it."
    CheckPassesLive "check_passes_the_living"
        demands "`check` of a live connection succeeds and leaves it fit for the next exchange."
        repair "Read the answer to the probe as a whole, or probe without traffic."
    CheckSeesDeath "check_sees_death"
        demands "`check` of a dead connection ends soon; it fails, or `is_alive` is false soon after."
        repair "Let the probe fail at the end of the stream instead of waiting for an answer."
    VitalsEndIt "vitals_end_it"
        demands "`vitals`, if there are any, tell a weight without waiting for long, also after the \
                 connection has ended. A kill ends the connection soon, and another one does nothing."
        repair "Let `kill` end the resource itself, and let both look first whether it still exists."
    CloseReturns "close_returns"
        demands "`close` returns in bounded time for every reason, even if the connection is dead."
        repair "Bound every wait for the peer, and use force when `CloseReason::is_orderly` is false."
    CloseEndsResource "close_ends_resource"
        demands "When `close` returns, the resource is gone, whatever the reason."
        repair "Await the end (reap the process, join the task, shut the socket) before `close` \
                returns."
    DropEndsResource "drop_ends_resource"
        demands "A connection that is dropped instead of closed ends its resource soon, even on a \
                 thread without a runtime."
        repair "Give the resource an owner with a `Drop` that ends it without awaiting."
    PoolReuses "pool_reuses"
        demands "A pool of one lends the same connection again after an exchange."
        repair "Find out which of `is_alive`, `is_clean` and `reset` refused the returned connection."
    PoolReplacesDead "pool_replaces_dead"
        demands "A pool of one lends a new connection after the old one died, leased or idle."
        repair "Keep nothing of a dead connection in the connector that could fail the next connect."
    NothingLeaks "nothing_leaks"
        demands "After two hundred cycles of acquire, exchange and close, no resource, descriptor \
                 or task is left."
        repair "End what belongs to a connection in its `Drop`: tasks by their handle, descriptors \
                by their owner."
    SharedExchangesAreApart "shared_exchanges_are_apart"
        demands "Exchanges that run on one connection at the same time get their own answers, and leave \
                 it alive and clean by `is_clean_shared`."
        repair "Give every request an id, and hand each answer to the request with its id."
    SharedCancelHarmsNoOther "shared_cancel_harms_no_other"
        demands "After an exchange was dropped at any await, `is_clean_shared` is false, or the others \
                 on the connection and the next one get their own answers."
        repair "Write requests from a task of the connection, so that a dropped caller cannot leave half \
                a request, and discard the answer to a request whose caller has gone."
    SharedCheckPassesLive "shared_check_passes_the_living"
        demands "`check_shared` of a live connection succeeds while an exchange runs, and does not \
                 disturb it."
        repair "Send the probe as one more request, and let a busy connection pass."
    SharedCheckSeesDeath "shared_check_sees_death"
        demands "`check_shared` of a dead connection ends soon; it fails, or `is_alive` is false soon \
                 after."
        repair "Let the probe fail at the end of the stream instead of waiting for an answer."
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
