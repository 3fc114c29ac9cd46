//! The settings of a pool: read once, checked once, at `build`.

mod builder;
mod validate;

pub(crate) use builder::KeyTerms;
pub use builder::{Builder, SharedBuilder};
