//! The list of what is measured about children.

use super::chapter::Topic;
use super::{
    endings, idle_children, many_ends, per_request, replace, round_trip, rpc, scale, spawn, stall,
    trees,
};

/// All topics, in the order of the report.
pub const TOPICS: [Topic; 16] = [
    round_trip::TOPIC,
    per_request::TOPIC,
    rpc::PINNED,
    rpc::UNPINNED,
    rpc::LEASE,
    rpc::EXCHANGE,
    rpc::FOUR_CHILDREN,
    rpc::SHARING,
    spawn::TOPIC,
    stall::TOPIC,
    replace::TOPIC,
    scale::TOPIC,
    idle_children::TOPIC,
    many_ends::TOPIC,
    trees::TOPIC,
    endings::TOPIC,
];
