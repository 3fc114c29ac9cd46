//! Faults that the engine once had: each test states what is promised, and failed before.

#![expect(
    clippy::disallowed_methods,
    reason = "callers are tasks and threads of the test itself"
)]

mod engine;
mod races;
