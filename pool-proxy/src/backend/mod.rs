//! The servers: their commands, their keys and their pools of children.
//!
//! | file | what it decides |
//! |---|---|
//! | `child_command` | how a child is started, and which environment it gets |
//! | `promise` | what the clients of a key were told of its children |
//! | `subscriptions`, `subscribing` | which clients of a key are told of which resources; what a child is told of that |
//! | `key_state` | one key: its promise, its subscriptions and the way to its children |
//! | `child_connector` | what a child must do before it serves a key |
//! | `shared_children` | the pools whose children serve many requests |
//! | `start_record` | whether a server can be started |
//! | `server` | which pools a server has |

mod child_command;
mod child_connector;
mod key_state;
mod promise;
mod server;
mod shared_children;
mod start_record;
mod subscribing;
mod subscriptions;

pub(crate) use key_state::KeyState;
pub(crate) use server::{Demand, Pools, Server, StartError};
pub(crate) use shared_children::SharedChildren;
pub(crate) use subscriptions::{NotSubscribed, SUBSCRIPTIONS_MAX, Subscriber};
