//! The configuration: its form, its defaults, and what is refused at the start.
//!
//! | file | what it decides |
//! |---|---|
//! | `settings` | which keys there are, what they mean, and their defaults |
//! | `config_error` | why the program does not start |
//! | `file_error` | what is said of a file that cannot be read |
//! | `checked` | which settings can work together |
//! | `size` | how a number of bytes is written |
//! | `suggestion` | which key was meant by one that does not exist |

mod checked;
mod config_error;
mod file_error;
mod settings;
mod size;
mod suggestion;

pub(crate) use checked::Config;
pub(crate) use config_error::ConfigError;
pub(crate) use settings::{
    HttpSettings, LimitSettings, LogFormat, LogSettings, ServerSettings, Settings, Sharing,
    TokenSettings,
};
