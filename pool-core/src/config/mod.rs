//! The settings of a pool: read once, checked once, at `build`.

mod builder;
mod validate;

pub use builder::{Builder, SharedBuilder};
