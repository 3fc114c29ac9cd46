//! Budgets, keys and weights together: random histories of the whole, against a naive model.
//!
//! # Algorithm
//!
//! A history plays operations on pools of one budget: the keys of a `KeyedPool` and of a `KeyedSharedPool`, and a
//! pool of each kind without keys. After each operation it waits until nothing more happens. Then three
//! witnesses are compared: the events of the pools, the fakes that were opened and closed, and
//! the public status. `model` follows the events in lists, and says of each whether it was allowed.
//! `rest` says what must not be left undone. `seen` compares the lists with what the pools show.
//!
//! Where a pool has a choice, the model knows the rule and not the choice. It shares no code with the
//! pools.

mod doors;
mod history;
mod lists;
mod lives;
mod model;
mod op;
mod reasons;
mod rest;
mod seen;
mod terms;
mod wants;
mod world;
