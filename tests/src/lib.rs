//! Cross-crate tests of the pool live in `tests/`; here is what several of them share.

pub mod bed;
