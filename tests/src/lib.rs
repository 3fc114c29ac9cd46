//! Cross-crate tests of the pool live in `tests/`; here is what several of them share.
//!
//! Tests cite what they guard against: `P12` is a pitfall that other pools fell into, `B8`, `D6` and
//! `X10` are scenarios of other pools' suites (bb8, deadpool, and all others).
//!
//! # What does not apply
//!
//! | scenario | why there is no test of it |
//! |---|---|
//! | B21, B22: insert a connection from outside | connections come from the connector only |
//! | D5: configuration from the environment or serde | settings are code |
//! | X20: suspend and resume | `resize(0)` and a larger `resize` are that, and tested as that |
//! | X24: a cancelled check puts its connection back | there is one policy: it is closed |
//! | B18, D8, D9: hooks on acquire, create and recycle | `connect`, `is_alive`, `check`, `reset` are all |
//! | a warning about slow acquires (with P43) | the histogram of waits tells, per pool |
//! | P44: how peers test | no behaviour |
//! | P10 as a race of two threads | the loom models of the pool enumerate it |

pub mod bed;
#[cfg(target_os = "linux")]
pub mod chaos;
#[cfg(target_os = "linux")]
pub mod children;
#[cfg(target_os = "linux")]
pub mod host;
pub mod layout;
pub mod random;
#[cfg(target_os = "linux")]
pub mod soak;

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
