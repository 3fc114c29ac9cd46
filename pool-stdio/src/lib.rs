//! pool-stdio
