//! Trees of processes, and how all of them end: the matrix M1 to M11 and the families F2 to F4,
//! beside what Node programs make of the same trees in the same run.
//!
//! | file | what it decides |
//! |---|---|
//! | `matrix` | the table, and what is judged |
//! | `row` | what is kept of a row |
//! | `scene` | what a row needs: a census, a beacon, the trees M10 and M11 |
//! | `end` | how `pool-stdio` ends M1 to M9 |
//! | `families` | M10, M11 and the families F2 to F4 by `pool-stdio` |
//! | `baselines` | the same rows by a script of Node, by execa and by tree-kill |

mod baselines;
mod end;
mod families;
mod matrix;
mod row;
mod scene;

pub(super) use matrix::TOPIC;
