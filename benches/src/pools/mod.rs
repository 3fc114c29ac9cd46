//! Pools side by side: the same work by all of them, in interleaved rounds.
//!
//! * `subjects`: the pools, one file each, with its settings; `contenders` lists them;
//! * `scenarios`: what they do; `load`, `threads`, `stampede`, `spike` and `expiry` carry it out;
//! * `requirements`: which ratios are judged; `tables`: what is printed.

mod contender;
mod contenders;
mod expiry;
mod load;
mod probe;
mod requirements;
mod rounds;
mod scenario;
mod scenarios;
mod spike;
mod stampede;
mod subjects;
mod tables;
mod threads;

pub use contender::Contender;
pub use contenders::all_contenders;
pub use expiry::Expiry;
pub use load::{Afterwards, Hold, Load, Workers};
pub use requirements::{figures, has_bar, needs};
pub use rounds::Series;
pub use scenario::{Answers, Scenario, ScenarioKind, Standing, WaitFigure};
pub use scenarios::{CROWD, UNCONTENDED, all_scenarios};
pub use spike::{Spike, SpikeCounts};
pub use stampede::{Stampede, StampedeCounts};
pub use subjects::{ComparedAs, ServingOrder};
pub use tables::table;
