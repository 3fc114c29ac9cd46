//! What the host has sent for the stdin of one child, with what it costs to keep that.
//!
//! # Invariants
//!
//! 1. `cost` is the sum of the costs of what is queued.
//! 2. `total` is the sum of `cost` of all queues that share it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::protocol::RequestId;

/// What waits to be written to one child.
#[derive(Debug)]
pub(crate) struct InputQueue {
    inputs: VecDeque<Input>,
    cost: usize,
    total: Rc<Cell<usize>>,
}

/// What the host has sent for stdin.
#[derive(Debug)]
pub(crate) enum Input {
    Bytes {
        id: Option<RequestId>,
        bytes: Vec<u8>,
        written: usize,
    },
    Close {
        id: Option<RequestId>,
    },
}

impl Input {
    fn cost(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len() + INPUT_COST,
            Self::Close { .. } => INPUT_COST,
        }
    }
}

impl InputQueue {
    /// An empty one. `total` is shared by all queues.
    pub(crate) const fn new(total: Rc<Cell<usize>>) -> Self {
        Self {
            inputs: VecDeque::new(),
            cost: 0,
            total,
        }
    }

    pub(crate) fn push(&mut self, input: Input) {
        self.recount(self.cost + input.cost());
        self.inputs.push_back(input);
    }

    pub(crate) fn pop(&mut self) -> Option<Input> {
        let input = self.inputs.pop_front()?;
        self.recount(self.cost - input.cost());
        Some(input)
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<Input> {
        self.recount(0);
        std::mem::take(&mut self.inputs)
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut Input> {
        self.inputs.front_mut()
    }

    pub(crate) fn last(&self) -> Option<&Input> {
        self.inputs.back()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter()
    }

    /// What it costs to keep what is queued here.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    fn recount(&mut self, cost: usize) {
        self.total.set(self.total.get() - self.cost + cost);
        self.cost = cost;
    }
}

impl Drop for InputQueue {
    fn drop(&mut self) {
        self.recount(0);
    }
}

/// What it costs to keep an input, besides its bytes.
const INPUT_COST: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(queues: &[InputQueue]) -> Vec<usize> {
        let cost = |queue: &InputQueue| queue.iter().map(Input::cost).sum();
        queues.iter().map(cost).collect()
    }

    proptest! {
        #[test]
        fn the_costs_are_those_of_what_is_queued(
            steps in proptest::collection::vec((0_usize..3, 0_u8..5, 0_usize..1000), 0..100)
        ) {
            let total = Rc::new(Cell::new(0));
            let mut queues = [(); 3].map(|()| InputQueue::new(Rc::clone(&total)));
            for (place, act, count) in steps {
                let queue = &mut queues[place];
                match act {
                    0 | 1 => queue.push(Input::Bytes { id: None, bytes: vec![0; count], written: 0 }),
                    2 => queue.push(Input::Close { id: None }),
                    3 => drop(queue.pop()),
                    _ if count < 500 => drop(queue.take_all()),
                    _ => *queue = InputQueue::new(Rc::clone(&total)),
                }
                let costs = queues.each_ref().map(InputQueue::cost);
                prop_assert_eq!(&costs[..], &counted(&queues)[..]);
                prop_assert_eq!(total.get(), costs.iter().sum::<usize>());
            }
            drop(queues);
            prop_assert_eq!(total.get(), 0);
        }
    }
}
