//! The list of what is measured about children.

use super::chapter::Topic;
use super::{per_request, replace, round_trip, rpc, scale, spawn, stall, trees};

/// All topics, in the order of the report.
pub const TOPICS: [Topic; 12] = [
    round_trip::TOPIC,
    per_request::TOPIC,
    rpc::PINNED,
    rpc::UNPINNED,
    rpc::LEASE,
    rpc::FOUR_CHILDREN,
    rpc::SHARING,
    spawn::TOPIC,
    stall::TOPIC,
    replace::TOPIC,
    scale::TOPIC,
    trees::TOPIC,
];
