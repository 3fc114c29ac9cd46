//! The outcome of each rule.

use std::fmt;

use super::rule::Rule;

/// The outcome of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleOutcome {
    /// The connector keeps it.
    Kept,
    /// The connector breaks it.
    Broken {
        /// What was seen.
        what: String,
    },
    /// It could not be tried.
    NotApplicable {
        /// What the subject must say so that it can be tried.
        why: String,
    },
    /// The subject [waived](super::Subject::waive) it.
    Waived {
        /// Why.
        reason: String,
    },
}

/// The outcome of every rule. `Display` is the whole list.
#[derive(Debug, Clone)]
#[must_use = "a report that nobody reads proves nothing"]
pub struct Report {
    outcomes: Vec<(Rule, RuleOutcome)>,
}

impl Report {
    pub(super) const fn new(outcomes: Vec<(Rule, RuleOutcome)>) -> Self {
        Self { outcomes }
    }

    /// The outcome of one rule.
    #[must_use]
    pub fn outcome(&self, rule: Rule) -> Option<&RuleOutcome> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find_map(|(tried, outcome)| (*tried == rule).then_some(outcome))
    }

    /// Checks that no rule was broken. Rules that are not applicable pass: this is for a first look.
    ///
    /// # Panics
    ///
    /// If a rule was broken. The message names every broken rule, what it demands and how it is
    /// repaired.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.broken().is_empty(), "{self}");
    }

    /// Checks that every rule was kept or waived: this is for a proof.
    ///
    /// # Panics
    ///
    /// If a rule was broken or is not applicable. The message names all of them.
    #[track_caller]
    pub fn assert_proven(&self) {
        let open = self.not_applicable();
        assert!(self.broken().is_empty() && open.is_empty(), "{self}");
    }

    /// The rules that the connector breaks.
    fn broken(&self) -> Vec<Rule> {
        self.rules(|outcome| matches!(outcome, RuleOutcome::Broken { .. }))
    }

    /// The rules that could not be tried, because the subject does not say how.
    fn not_applicable(&self) -> Vec<Rule> {
        self.rules(|outcome| matches!(outcome, RuleOutcome::NotApplicable { .. }))
    }

    fn rules(&self, is_meant: impl Fn(&RuleOutcome) -> bool) -> Vec<Rule> {
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
                Verbose {
                    rule: *rule,
                    outcome
                }
            )?;
        }
        Ok(())
    }
}

/// One rule with its outcome, and for a broken rule what it demands and how it is repaired.
pub(super) struct Verbose<'a> {
    pub(super) rule: Rule,
    pub(super) outcome: &'a RuleOutcome,
}

impl fmt::Display for Verbose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule;
        match self.outcome {
            RuleOutcome::Kept => write!(f, "rule `{rule}` kept"),
            RuleOutcome::Broken { what } => write!(
                f,
                "rule `{rule}` broken: {what}\n  demands: {}\n  repair:  {}",
                rule.demands(),
                rule.repair()
            ),
            RuleOutcome::NotApplicable { why } => write!(f, "rule `{rule}` not applicable: {why}"),
            RuleOutcome::Waived { reason } => write!(f, "rule `{rule}` waived: {reason}"),
        }
    }
}
