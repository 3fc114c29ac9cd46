//! What a way must offer to be compared.

use std::time::Duration;

use pool_core::async_trait;

use crate::compare::problem::Problem;

/// A way to get a request answered.
#[async_trait]
pub(in crate::compare) trait Way: Send + Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Sends one request. Returns the time until its reply, when the next request can start.
    async fn ask(&self) -> Result<Duration, Problem>;

    /// How many processes were started.
    fn started(&self) -> u64;

    /// The most memory that all processes together can have had at one time, where the system says.
    fn resident_bytes_max(&self) -> Option<u64>;
}
