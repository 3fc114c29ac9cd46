//! Pools side by side.

pub mod contender;
pub mod load;
pub mod probe;
pub mod rounds;
pub mod scenario;
pub mod spike;
pub mod stampede;
pub mod subjects;
pub mod tables;
pub mod threads;
