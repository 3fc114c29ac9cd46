//! What the tests in `tests/`, the benches and the soak have in common.

pub mod bed;
#[cfg(target_os = "linux")]
pub mod chaos;
pub mod children;
#[cfg(target_os = "linux")]
pub mod ended_host;
#[cfg(target_os = "linux")]
pub mod host;
pub mod layout;
pub mod random;
#[cfg(target_os = "linux")]
pub mod soak;

/// The documents, so that their snippets are compiled and run.
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
    #[doc = include_str!("../../docs/termination.md")]
    struct Termination;
    #[doc = include_str!("../../docs/platforms.md")]
    struct Platforms;
    #[doc = include_str!("../../docs/failures.md")]
    struct Failures;
    #[doc = include_str!("../../docs/comparison.md")]
    struct Comparison;
    #[doc = include_str!("../../docs/proof.md")]
    struct Proof;
    #[doc = include_str!("../../docs/numbers.md")]
    struct Numbers;
}
