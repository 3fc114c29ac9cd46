//! Which clients may ask. That is checked before anything of a request is read but its head.
//!
//! | file | what it decides |
//! |---|---|
//! | `names` | which Host and which Origin are accepted |
//! | `tokens` | which principal a bearer token belongs to |

mod names;
mod tokens;

pub(crate) use names::{AllowedNames, Origin};
pub(crate) use tokens::{Principal, Tokens};
