//! When connections are opened, how many, and what follows a failed connect.

mod failing;
mod opening;
mod pacing;
mod warming;
