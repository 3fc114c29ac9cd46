//! Random histories of a shared pool, watched by somebody who keeps the books apart.

mod histories;
mod share_op;
mod share_oracle;
