//! One test for each rule.

/// Expands to one `#[test]` for each [rule](crate::conformance::Rule), with the name of the rule.
///
/// Takes an expression that makes a [`Subject`](crate::conformance::Subject). Each test evaluates it
/// inside its runtime, so it can await. A test fails if its rule is broken. It also fails if the rule is
/// not applicable, unless the subject [waives](crate::conformance::Subject::waive) it.
///
/// With the word `shared` in front of the expression, there are also tests of the rules about
/// connections that serve many callers at once; the subject must call
/// [`shared`](crate::conformance::Subject::shared).
///
/// # Examples
///
/// ```
/// use pool_testkit::conformance::Subject;
/// use pool_testkit::connector::{FakeConnector, pair};
///
/// fn subject() -> Subject<FakeConnector> {
///     Subject::new(pair().0) // .exchange(..).kill(..).resources(..)
/// }
///
/// mod my_connector {
///     // `cargo test my_connector::` now runs `connects`, `connect_is_cancel_safe`, ..
///     pool_testkit::conformance!(super::subject());
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    (shared $subject:expr $(,)?) => {
        $crate::conformance! { @exclusive ($subject)
            shared_exchanges_are_apart SharedExchangesAreApart,
            shared_cancel_harms_no_other SharedCancelHarmsNoOther,
            shared_check_passes_the_living SharedCheckPassesLive,
            shared_check_sees_death SharedCheckSeesDeath,
        }
    };
    (@exclusive ($subject:expr) $($more:tt)*) => {
        $crate::conformance! { @tests ($subject)
            connects Connects,
            connect_is_cancel_safe ConnectIsCancelSafe,
            connect_keeps_deadline ConnectKeepsDeadline,
            permanent_failure_is_reported PermanentFailureIsReported,
            transient_failure_is_reported TransientFailureIsReported,
            is_alive_sees_death IsAliveSeesDeath,
            queries_are_cheap QueriesAreCheap,
            died_resolves DiedResolves,
            died_waits DiedWaits,
            exchange_leaves_clean ExchangeLeavesClean,
            cancelled_exchange_is_not_reused CancelledExchangeIsNotReused,
            dirt_is_seen DirtIsSeen,
            reset_is_honest ResetIsHonest,
            check_passes_the_living CheckPassesLive,
            check_sees_death CheckSeesDeath,
            vitals_end_it VitalsEndIt,
            close_returns CloseReturns,
            close_ends_resource CloseEndsResource,
            drop_ends_resource DropEndsResource,
            pool_reuses PoolReuses,
            pool_replaces_dead PoolReplacesDead,
            nothing_leaks NothingLeaks,
            $($more)*
        }
    };
    (@tests ($subject:expr) $($name:ident $rule:ident,)*) => {
        // A rule without a test, or a test with another name, does not compile.
        const _: () = $crate::conformance::assert_list(&[
            $((stringify!($name), $crate::conformance::Rule::$rule),)*
        ]);
        $(
            #[test]
            fn $name() {
                let subject = async || $subject;
                $crate::conformance::assert_rule($crate::conformance::Rule::$rule, subject);
            }
        )*
    };
    ($subject:expr $(,)?) => {
        $crate::conformance! { @exclusive ($subject) }
    };
}
