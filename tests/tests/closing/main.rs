//! How a pool ends: asked to, by its last handle, or with its runtime; and closes that do not end.

mod handles;
mod orderly;
mod races;
mod runtime;
mod stuck;
