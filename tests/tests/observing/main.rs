//! What a pool shows: its status, its events, its metrics and its errors.

mod errors;
mod events;
mod leases;
mod metrics;
mod quiet;
mod status;
