//! Benchmarks of the pool.
