//! What every measuring program of this workspace needs: a clock, medians, tables and pictures.

mod clock;
mod measured;
mod plot;
mod progress;
mod stats;
mod table;

pub use clock::Stopwatch;
pub use measured::Measured;
pub use plot::{Chart, ChartBar, Side};
pub use progress::Progress;
pub use stats::{Percentiles, Summary, Waits, median, paired, ratio, ratio_of_medians};
pub use table::Table;
