//! How a pool ends: by `close`, with its last handle, or with its runtime. Also closes that hang.

mod handles;
mod observers;
mod orderly;
mod races;
mod runtime;
mod stuck;
