//! When connections are opened, how many, and what becomes of connects that fail.

mod failing;
mod opening;
mod pacing;
mod warming;
