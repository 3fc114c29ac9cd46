//! Pools by key: made on first use, dropped when they are not used, bounded in number.

mod closing_keys;
mod dropping;
mod flood;
mod keys;
mod metrics_of_keys;
mod races;
mod servers;
mod shared_keys;
