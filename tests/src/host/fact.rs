//! How a scene answers its test.

use std::fmt::Debug;

#[expect(clippy::print_stdout, reason = "how a scene answers its test")]
pub(crate) fn tell(name: &str, value: impl Debug) {
    println!("{name}={value:?}");
}
