//! What became of each rule.

use std::fmt;

use super::Rule;

/// What became of one rule.
///
/// # Examples
///
/// See [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The connector keeps it.
    Kept,
    /// The connector breaks it.
    Broken {
        /// What was seen.
        what: String,
    },
    /// It could not be judged.
    NotApplicable {
        /// What the subject would have to say.
        why: String,
    },
    /// The subject [waived](super::Subject::waive) it.
    Waived {
        /// Why.
        reason: String,
    },
}

/// What became of every rule. `Display` is the whole list.
///
/// # Examples
///
/// ```
/// use pool_testkit::conformance::{self, Outcome, Rule};
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Nothing is known but the connector: what needs more says what it needs.
/// let report = conformance::run(pair().0).await;
/// report.assert_kept();
/// assert_eq!(report.outcome(Rule::CheckPassesLive), Some(&Outcome::Kept));
/// assert!(report.to_string().contains("say how with `.kill(..)`"));
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a report that nobody reads proves nothing"]
pub struct Report {
    outcomes: Vec<(Rule, Outcome)>,
}

impl Report {
    pub(super) const fn new(outcomes: Vec<(Rule, Outcome)>) -> Self {
        Self { outcomes }
    }

    /// What became of one rule.
    #[must_use]
    pub fn outcome(&self, rule: Rule) -> Option<&Outcome> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find_map(|(judged, outcome)| (*judged == rule).then_some(outcome))
    }

    /// The rules that the connector breaks.
    #[must_use]
    pub fn broken(&self) -> Vec<Rule> {
        self.rules(|outcome| matches!(outcome, Outcome::Broken { .. }))
    }

    /// The rules that could not be judged, because the subject does not say how.
    #[must_use]
    pub fn not_applicable(&self) -> Vec<Rule> {
        self.rules(|outcome| matches!(outcome, Outcome::NotApplicable { .. }))
    }

    /// No rule was broken. Rules that could not be judged are let pass: for a first look.
    ///
    /// # Panics
    ///
    /// If one was broken, with every broken rule by name, what it demands and how it is repaired.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.broken().is_empty(), "{self}");
    }

    /// Every rule was kept or waived: for a proof.
    ///
    /// # Panics
    ///
    /// If one was broken or could not be judged, with all of them by name.
    #[track_caller]
    pub fn assert_proven(&self) {
        let open = self.not_applicable();
        assert!(self.broken().is_empty() && open.is_empty(), "{self}");
    }

    fn rules(&self, is_meant: impl Fn(&Outcome) -> bool) -> Vec<Rule> {
        let meant = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| is_meant(outcome));
        meant.map(|(rule, _)| *rule).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (broken, open) = (self.broken().len(), self.not_applicable().len());
        let count = self.outcomes.len();
        write!(f, "of {count} rules {broken} broken, {open} not applicable")?;
        for (rule, outcome) in &self.outcomes {
            write!(
                f,
                "\n{}",
                Finding {
                    rule: *rule,
                    outcome
                }
            )?;
        }
        Ok(())
    }
}

/// One rule with its outcome, as it is read.
pub(super) struct Finding<'a> {
    pub(super) rule: Rule,
    pub(super) outcome: &'a Outcome,
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule;
        match self.outcome {
            Outcome::Kept => write!(f, "rule `{rule}` kept"),
            Outcome::Broken { what } => write!(
                f,
                "rule `{rule}` broken: {what}\n  demands: {}\n  repair:  {}",
                rule.demands(),
                rule.repair()
            ),
            Outcome::NotApplicable { why } => write!(f, "rule `{rule}` not applicable: {why}"),
            Outcome::Waived { reason } => write!(f, "rule `{rule}` waived: {reason}"),
        }
    }
}
