//! A child process that behaves as badly as a test wants it to.
//!
//! A [`Behaviour`] is a list of steps that one process does in order. It is written down as command
//! line arguments, read by [`main`] in the fixture program, and carried out there. Steps may start
//! further processes with behaviours of their own, so that any tree can be described:
//!
//! ```
//! use pool_testkit::fixture::Behaviour;
//!
//! // Echoes three lines, then exits.
//! let brief = Behaviour::echo().then_exit_after(3);
//!
//! // A launcher that exits and leaves a leaf behind that does not listen to SIGTERM.
//! let leaf = Behaviour::new().ignore_terminate().hang();
//! let launcher = Behaviour::new().start(leaf).exit(0);
//!
//! assert_eq!(Behaviour::from_args(launcher.to_args()).unwrap(), launcher);
//! # drop(brief);
//! ```
//!
//! Every process of a fixture ends itself after two minutes, so that a failed test leaves nothing
//! behind for long. Signals are at their defaults when its steps begin, whatever it inherits.

mod act;
mod behaviour;
mod rpc;
mod trees;
mod words;
mod zoo;

pub use act::main;
pub use behaviour::{Behaviour, Replies};
pub use trees::{RootEnds, Tree, trees};
pub use words::ParseError;
pub use zoo::{Adversary, Ends, zoo};
