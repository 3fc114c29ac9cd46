//! Pools side by side: the same work by all of them, in interleaved rounds.
//!
//! * [`subjects`]: the pools, one file each, with its settings; [`contenders`](contenders()) lists them;
//! * [`scenarios`](scenarios()): what they do; [`load`], `threads`, `stampede`, `spike` and `expiry` carry it out;
//! * [`requirements`]: which ratios are judged; [`tables`]: what is printed.

mod contender;
mod contenders;
mod expiry;
pub mod load;
mod probe;
pub mod requirements;
mod rounds;
mod scenario;
mod scenarios;
mod spike;
mod stampede;
pub mod subjects;
pub mod tables;
mod threads;

pub use contender::Contender;
pub use contenders::contenders;
pub use expiry::Expiry;
pub use probe::Probe;
pub use rounds::Series;
pub use scenario::{Answers, Scenario, ScenarioKind, Standing, WaitFigure};
pub use scenarios::{CROWD, UNCONTENDED, scenarios};
pub use spike::{Spike, SpikeCounts};
pub use stampede::{Stampede, StampedeCounts};
