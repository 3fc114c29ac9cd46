//! Cross-crate tests of the pool live in `tests/`; here is what several of them share.

pub mod bed;

/// The documents, whose snippets are compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../../docs/design.md")]
    struct Design;
    #[doc = include_str!("../../docs/invariants.md")]
    struct Invariants;
    #[doc = include_str!("../../docs/cancellation.md")]
    struct Cancellation;
    #[doc = include_str!("../../docs/metrics.md")]
    struct Metrics;
}
