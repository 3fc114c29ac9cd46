//! Not written yet: job objects, pipes and console events, under the names of the Unix files.

compile_error!("pool-stdio does not support Windows yet: its system layer `sys::windows` is empty");
