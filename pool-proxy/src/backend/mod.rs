//! The servers: their commands, their keys and their pools of children.
//!
//! | file | what it decides |
//! |---|---|
//! | `child_command` | how a child is started, and which environment it gets |
//! | `child_era` | which era a child speaks, and its first messages |
//! | `promise` | what the clients of a key were told of its children |
//! | `client_kinds` | what children of one session each have said, and to which clients |
//! | `subscriptions`, `subscribing`, `listening` | which clients of a key are told of which resources; what a legacy child is told of that, and a modern one |
//! | `list_cache` | which lists of a key are kept |
//! | `news` | which clients of a key are told of which changes of lists |
//! | `tool_facts` | what a list of tools says of each of them |
//! | `key_state` | one key: its promise, its subscriptions, its lists and the way to its children |
//! | `way` | how a request reaches a child of its key |
//! | `child_connector` | what a child must do before it serves a key |
//! | `ping_record` | whether pings say anything about the children of a key |
//! | `key_pools` | whether a child serves many requests at a time, or one in its life |
//! | `shared_children` | the pools whose children belong to no session |
//! | `own_children` | the pools whose children serve one session each |
//! | `start_record` | whether a server can be started |
//! | `start_slots` | how many children of sessions start at a time |
//! | `server` | which pools a server has |

mod child_command;
mod child_connector;
mod child_era;
mod client_kinds;
mod key_pools;
mod key_state;
mod list_cache;
mod listening;
mod news;
mod own_children;
mod ping_record;
mod promise;
mod server;
mod shared_children;
mod start_record;
mod start_slots;
mod subscribing;
mod subscriptions;
mod tool_facts;
mod way;

pub(crate) use child_era::{Era, EraError};
pub(crate) use client_kinds::{ClientKind, Greeting};
pub(crate) use key_state::KeyState;
pub(crate) use list_cache::Listed;
pub(crate) use news::News;
pub(crate) use own_children::OwnChildren;
pub(crate) use promise::Hello;
pub(crate) use server::{Demand, Pools, Server, StartError};
pub(crate) use shared_children::SharedChildren;
pub(crate) use start_slots::StartSlots;
pub(crate) use subscriptions::{NotSubscribed, SUBSCRIPTIONS_MAX, Subscriber};
pub(crate) use tool_facts::MirroredArgument;
