//! pool-stdio

pub mod codec;
