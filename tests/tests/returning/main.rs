//! How connections come home: clean or not, with or without a runtime, in the midst of a panic.

mod anywhere;
mod condition;
mod foreign;
mod leaving;
mod resetting;
