//! What happens because time passes, or because a call changes the pool as a whole.

mod ageing;
mod before_lease;
mod checking;
mod evicting;
mod floor;
mod renewing;
mod resizing;
