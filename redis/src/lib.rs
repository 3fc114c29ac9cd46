//! A connector for a Redis server, and what three pools do while the server fails.
//!
//! [`RedisConnector`] is written from the guide alone, on a plain socket. [`trial`] runs it in a pool of
//! `pool-core` beside `deadpool-redis` and `bb8-redis`: the server is killed and restarted, or stopped
//! and continued, under callers. It needs the program `redis-server`.

mod connection;
mod connector;
pub mod pools;
mod server;
pub mod trial;

pub use connection::RedisConnection;
pub use connector::RedisConnector;
pub use server::Server;
