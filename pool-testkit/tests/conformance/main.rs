//! The conformance rules, tested by connectors that break one each and by one that keeps them all.
//!
//! Everything is in memory and the clock is paused, so the waits that a wrong connector causes take no
//! time.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each method of the wrong connector names only the flaws that change it"
)]

mod line;
mod shared_line;

use pool_testkit::conformance::{self, Report, Rule, RuleOutcome, Subject};
use pool_testkit::connector::pair;

use line::{Flaw, Line, Lines, subject};
use shared_line::{SharedFlaw, SharedLines, shared_subject};

/// Each flaw with the rules that it breaks. The first one is the rule that the flaw is about.
const FLAWS: [(Flaw, &[Rule]); 28] = [
    (Flaw::NewOnesAreNotClean, &[Rule::Connects]),
    (
        Flaw::SharesOneLine,
        &[Rule::Connects, Rule::PoolReplacesDead],
    ),
    (
        Flaw::CancelledConnectStaysOpen,
        &[Rule::ConnectIsCancelSafe],
    ),
    (Flaw::IgnoresDeadline, &[Rule::ConnectKeepsDeadline]),
    (
        Flaw::MissesDeadlineByOneSecond,
        &[Rule::ConnectKeepsDeadline],
    ),
    (
        Flaw::MissesDeadlineByNineSeconds,
        &[Rule::ConnectKeepsDeadline],
    ),
    (Flaw::CallsDeadlinePermanent, &[Rule::ConnectKeepsDeadline]),
    (
        Flaw::CallsPermanentTransient,
        &[Rule::PermanentFailureIsReported],
    ),
    (
        Flaw::CallsTransientPermanent,
        &[Rule::TransientFailureIsReported],
    ),
    (
        Flaw::SeesNoDeath,
        &[Rule::IsAliveSeesDeath, Rule::PoolReplacesDead],
    ),
    (Flaw::BlocksInQuery, &[Rule::QueriesAreCheap]),
    (Flaw::PanicsInQuery, &[Rule::QueriesAreCheap]),
    (Flaw::TellsOneOfManyWatchers, &[Rule::DiedResolves]),
    (
        Flaw::TellsDeathAtOnce,
        &[
            Rule::DiedWaits,
            Rule::PoolReuses,
            Rule::PoolReplacesDead,
            Rule::NothingLeaks,
        ],
    ),
    (
        Flaw::NeverCleanAgain,
        &[Rule::ExchangeLeavesClean, Rule::PoolReuses],
    ),
    (
        Flaw::ForgetsCancelled,
        &[Rule::CancelledExchangeIsNotReused],
    ),
    (
        Flaw::SeesNoDirt,
        &[Rule::DirtIsSeen, Rule::CancelledExchangeIsNotReused],
    ),
    (
        Flaw::ResetsNothing,
        &[Rule::ResetIsHonest, Rule::CancelledExchangeIsNotReused],
    ),
    (Flaw::ChecksNever, &[Rule::CheckPassesLive]),
    (Flaw::ChecksForEver, &[Rule::CheckSeesDeath]),
    (Flaw::KillsNothing, &[Rule::VitalsEndIt]),
    (
        Flaw::ClosesForEver,
        &[Rule::CloseReturns, Rule::CloseEndsResource],
    ),
    (Flaw::ClosesLater, &[Rule::CloseEndsResource]),
    (Flaw::DropsNothing, &[Rule::DropEndsResource]),
    (
        Flaw::NeverLentTwice,
        &[Rule::PoolReuses, Rule::ResetIsHonest],
    ),
    (Flaw::FailsAfterDeath, &[Rule::PoolReplacesDead]),
    (Flaw::LeavesTasks, &[Rule::NothingLeaks]),
    (Flaw::LeavesTasksWhenEvicted, &[Rule::NothingLeaks]),
];

/// The same for connectors whose connections serve many callers at once. Those of the exclusive rules
/// that they break are not listed.
const SHARED_FLAWS: [(SharedFlaw, &[Rule]); 6] = [
    (
        SharedFlaw::MixesAnswers,
        &[
            Rule::SharedExchangesAreApart,
            Rule::SharedCancelHarmsNoOther,
        ],
    ),
    (
        SharedFlaw::NotCleanAfterExchange,
        &[Rule::SharedExchangesAreApart],
    ),
    (
        SharedFlaw::CancelLosesAnswers,
        &[Rule::SharedCancelHarmsNoOther],
    ),
    (
        SharedFlaw::CheckFailsWhenBusy,
        &[Rule::SharedCheckPassesLive],
    ),
    (
        SharedFlaw::CheckHangsWhenDead,
        &[Rule::SharedCheckSeesDeath],
    ),
    (SharedFlaw::CheckPassesDead, &[Rule::SharedCheckSeesDeath]),
];

#[test]
fn every_rule_is_the_first_that_some_wrong_connector_breaks() {
    for rule in Rule::ALL {
        let exclusive = FLAWS.iter().map(|(_, broken)| broken[0]);
        let shared = SHARED_FLAWS.iter().map(|(_, broken)| broken[0]);
        let is_proven = exclusive.chain(shared).any(|broken| broken == *rule);
        assert!(
            is_proven,
            "no wrong connector proves that `{rule}` can fail"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_wrong_connector_breaks_its_rules_and_no_others() {
    let mut wrong = Vec::new();
    for (flaw, expected) in FLAWS {
        let mut broken = Vec::new();
        for rule in exclusive_rules() {
            match conformance::judge(*rule, &subject(flaw)).await {
                RuleOutcome::Kept => {}
                RuleOutcome::Broken { .. } => broken.push(*rule),
                other => panic!("{flaw:?}: {rule}: {other:?}"),
            }
        }
        let mut expected = expected.to_vec();
        expected.sort();
        if broken != expected {
            wrong.push(format!("{flaw:?} breaks {broken:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn each_wrong_shared_connector_breaks_its_shared_rules_and_no_others() {
    let mut wrong = Vec::new();
    for (flaw, expected) in SHARED_FLAWS {
        let report = conformance::run(shared_subject(flaw)).await;
        let mut broken = broken_rules(&report);
        broken.retain(|rule| !exclusive_rules().contains(rule));
        if broken != expected {
            wrong.push(format!("{flaw:?} breaks {broken:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn broken_rules(report: &Report) -> Vec<Rule> {
    rules(report, |outcome| {
        matches!(outcome, RuleOutcome::Broken { .. })
    })
}

fn not_applicable_rules(report: &Report) -> Vec<Rule> {
    rules(report, |outcome| {
        matches!(outcome, RuleOutcome::NotApplicable { .. })
    })
}

fn rules(report: &Report, is_meant: impl Fn(&RuleOutcome) -> bool) -> Vec<Rule> {
    let all = Rule::ALL.iter().copied();
    all.filter(|rule| report.outcome(*rule).is_some_and(&is_meant))
        .collect()
}

/// The rules that are not about connections that serve many callers at once.
fn exclusive_rules() -> &'static [Rule] {
    let shared = |rule: &Rule| rule.to_string().starts_with("shared_");
    let count = Rule::ALL.iter().take_while(|rule| !shared(rule)).count();
    &Rule::ALL[..count]
}

#[tokio::test(start_paused = true)]
async fn a_right_connector_keeps_every_rule() {
    conformance::run(subject(Flaw::None)).await.assert_proven();
    let report = conformance::run(shared_subject(SharedFlaw::None)).await;
    report.assert_proven();
    assert!(report.to_string().starts_with("of 26 rules 0 broken"));
}

#[tokio::test(start_paused = true)]
async fn a_shared_rule_is_not_applicable_to_a_subject_that_is_not_shared() {
    let outcome = conformance::judge(Rule::SharedCheckPassesLive, &subject(Flaw::None)).await;
    let why = "say how with `.shared(..)`".to_owned();
    assert_eq!(outcome, RuleOutcome::NotApplicable { why });
}

#[tokio::test(start_paused = true)]
async fn a_report_names_each_broken_rule_with_its_demand_and_its_repair() {
    let report = conformance::run(subject(Flaw::NeverCleanAgain)).await;
    let broken = [Rule::ExchangeLeavesClean, Rule::PoolReuses];
    assert_eq!(broken_rules(&report), broken);
    let text = report.to_string();
    assert!(
        text.starts_with("of 22 rules 2 broken, 0 not applicable"),
        "{text}"
    );
    for part in [
        "rule `exchange_leaves_clean` broken: not clean after an exchange",
        "demands: A connection on which an exchange was completed is alive and clean.",
        "repair:  Remove the mark of an unfinished request once its answer was read as a whole.",
        "rule `pool_reuses` broken: ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "rule `connect_is_cancel_safe` broken: [")]
async fn a_broken_rule_fails_the_test_by_its_name() {
    let subject = subject(Flaw::CancelledConnectStaysOpen);
    conformance::run(subject).await.assert_kept();
}

#[test]
#[should_panic(expected = "rule `check_passes_the_living` broken: check of a live one failed")]
fn a_broken_rule_fails_its_own_test_by_its_name() {
    let subject = async || subject(Flaw::ChecksNever);
    conformance::assert_rule(Rule::CheckPassesLive, subject);
}

#[tokio::test]
async fn a_rule_that_needs_what_the_subject_does_not_say_is_reported_as_not_applicable() {
    let report = conformance::run(pair().0).await;
    report.assert_kept();
    let expected = [
        (Rule::ConnectIsCancelSafe, "resources"),
        (Rule::ConnectKeepsDeadline, "stalling"),
        (Rule::PermanentFailureIsReported, "failing_permanently"),
        (Rule::TransientFailureIsReported, "failing_transiently"),
        (Rule::IsAliveSeesDeath, "kill"),
        (Rule::DiedResolves, "kill"),
        (Rule::ExchangeLeavesClean, "exchange"),
        (Rule::CancelledExchangeIsNotReused, "exchange"),
        (Rule::DirtIsSeen, "dirty"),
        (Rule::ResetIsHonest, "exchange"),
        (Rule::CheckSeesDeath, "kill"),
        (Rule::CloseEndsResource, "resources"),
        (Rule::DropEndsResource, "resources"),
        (Rule::PoolReplacesDead, "kill"),
        (Rule::NothingLeaks, "resources"),
    ];
    assert_eq!(
        not_applicable_rules(&report),
        expected.map(|(rule, _)| rule)
    );
    for (rule, capability) in expected {
        let why = format!("say how with `.{capability}(..)`");
        let outcome = RuleOutcome::NotApplicable { why };
        assert_eq!(report.outcome(rule), Some(&outcome));
    }
}

#[test]
#[should_panic(expected = "rule `dirt_is_seen` not applicable: say how with `.dirty(..)`")]
fn a_rule_that_is_not_applicable_fails_its_own_test() {
    conformance::assert_rule(Rule::DirtIsSeen, async || Subject::new(pair().0));
}

#[tokio::test]
#[should_panic(expected = "15 not applicable")]
async fn a_proof_needs_every_rule_to_be_applicable() {
    conformance::run(pair().0).await.assert_proven();
}

#[test]
fn a_waived_rule_is_not_tried() {
    let subject = async || {
        let wrong = subject(Flaw::SeesNoDirt);
        wrong.waive(Rule::DirtIsSeen, "a line without requests has no dirt")
    };
    conformance::assert_rule(Rule::DirtIsSeen, subject);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_subject_breaks_the_rule() {
    let wrong = subject(Flaw::None).exchange(async |_: &mut Line, number| {
        assert!(number == 0, "no numbers today");
        Ok(number)
    });
    let outcome = conformance::judge(Rule::ExchangeLeavesClean, &wrong).await;
    let RuleOutcome::Broken { what } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(what, "it panicked: no numbers today");
}

/// The tests of the macro, as a user gets them.
mod by_macro {
    use super::{Flaw, Lines, Subject, subject};

    pool_testkit::conformance!(right().await);

    mod shared {
        use super::super::{SharedFlaw, SharedLines, Subject, shared_subject};

        pool_testkit::conformance!(shared right());

        fn right() -> Subject<SharedLines> {
            shared_subject(SharedFlaw::None)
        }
    }

    async fn right() -> Subject<Lines> {
        tokio::task::yield_now().await;
        subject(Flaw::None)
    }
}
