//! What happens because time passes, or because somebody changes the pool as a whole.

mod ageing;
mod checking;
mod evicting;
mod floor;
mod resizing;
