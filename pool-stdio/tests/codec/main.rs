//! The framing rules, one table per codec, and what holds for any input.

mod headers;
mod length;
mod lines;
mod properties;
mod reader;
mod replies;
