//! Child processes: started without blocking, watched without a runtime, ended with their whole tree.

pub(crate) mod child;
pub(crate) mod children;
pub(crate) mod command;
pub(crate) mod custodian;
pub(crate) mod line_feed;
pub(crate) mod once;
pub(crate) mod outcome;
pub(crate) mod proc_scan;
pub(crate) mod signal;
pub(crate) mod spawner;
pub(crate) mod stderr;
pub(crate) mod sys;
pub(crate) mod terminate;
pub(crate) mod ward;
