//! pool-testkit

#[cfg(unix)]
pub mod census;
#[cfg(unix)]
pub mod fixture;
