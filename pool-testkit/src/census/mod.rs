//! Counts what a test leaves behind: processes, zombies, descriptors, threads, tasks. On Linux only: it reads
//! `/proc`.
//!
//! There is one census at a time in a process, because descriptors and threads belong to the whole
//! process; a test that wants a census waits for the others to end. Two things are not counted: what
//! the process layer keeps for good (its threads and their descriptors), and what tokio keeps (its
//! sockets for signals). They exist before the count begins, or are known by name.
//!
//! A child is recognised by a mark in its environment. All its descendants inherit the mark, so they
//! are found wherever they went, and processes of others are never counted.
//!
//! # Examples
//!
//! ```
//! use pool_testkit::census::Census;
//!
//! let census = Census::begin();
//! let file = std::fs::File::open("/proc/self/stat").unwrap();
//! let left = census.leftovers();
//! assert!(left[0].to_string().contains("/proc/"));
//!
//! drop(file);
//! census.assert_clean();
//! ```

mod leftovers;
mod processes;

pub use leftovers::{Census, Leftover};
pub use processes::Process;
