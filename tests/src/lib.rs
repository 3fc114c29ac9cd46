//! Cross-crate tests of the pool live in `tests/`.
