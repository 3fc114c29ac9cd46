//! Loom models: every interleaving of two or three threads at the places where one could slip.
//!
//! Each model runs the code of production, and once more with a planted bug that it must find: a
//! model that cannot fail proves nothing. Run them with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p pool-core --release --lib models`,
//! in a release build: a debug assertion would find the planted bugs before the model does.

mod budgets;
mod ending;
mod hand_off;
mod rig;
mod sharing;
mod stale_idle;
mod weights;
