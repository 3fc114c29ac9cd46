//! Random uses of leases: whatever a caller did with a child and left undone, nobody else is answered by it.

use pool_core::ConnectionPool;
use pool_stdio::codec::Line;
use pool_stdio::{CommandSpec, StdioConnection, StdioConnector};
use pool_tests::children::poll_times;
use pool_tests::random::SplitMix64;

use crate::bed::{eager, on_both_runtimes};

#[test]
fn nobody_is_answered_by_what_another_caller_left_undone() {
    on_both_runtimes(async |bed| {
        let mut left_undone = 0;
        for seed in 0..SEEDS {
            let mut random = SplitMix64::new(seed);
            let spec = CommandSpec::new("sh").args(["-c", ANSWERS_WHAT_IT_IS_ASKED]);
            let spec = bed.scene.census.mark(spec);
            let connector = bed.watch(StdioConnector::new(spec).unwrap());
            let pool = eager(ConnectionPool::builder(connector)).max_size(2);
            let pool = pool.build().unwrap();
            for lease in 0..LEASES {
                let mut child = pool.acquire().await.unwrap();
                let mut caller = Caller {
                    child: &mut child,
                    name: format!("seed {seed} lease {lease}:"),
                    messages: 0,
                };
                if random.below(2) == 0 {
                    caller.is_answered().await;
                }
                for _ in 0..random.below(4) {
                    caller.does_something(&mut random).await;
                }
                left_undone += usize::from(child.is_dirty());
            }
        }
        assert!(left_undone > 0);
    });
}

/// And nothing else: what it is told has no answer.
const ANSWERS_WHAT_IT_IS_ASKED: &str =
    "while read -r line; do case $line in *asks*) echo \"$line\" ;; esac; done";
const SEEDS: u64 = 30;
const LEASES: u64 = 25;

/// Who has a lease, and knows its own messages by their beginning.
struct Caller<'a> {
    child: &'a mut StdioConnection,
    name: String,
    messages: u32,
}

impl Caller<'_> {
    fn message(&mut self, verb: &str) -> String {
        self.messages += 1;
        format!("{} {verb} {}", self.name, self.messages)
    }

    /// What the first request of a lease gets is its own.
    async fn is_answered(&mut self) {
        let message = self.message("asks");
        let reply = self.child.request(&message).await.unwrap();
        assert_eq!(reply.bytes, message);
    }

    /// Once more has been written than read, it may get the reply to another message of its own, or an error.
    async fn does_something(&mut self, random: &mut SplitMix64) {
        let message = self.message("asks");
        let polls = usize::try_from(random.below(3)).unwrap() + 1;
        let heard: Vec<Line> = match random.below(6) {
            0 => self.child.request(&message).await.into_iter().collect(),
            1 => {
                let outcome = poll_times(self.child.request(&message), polls).await;
                outcome.into_iter().flatten().collect()
            }
            2 => {
                let is_last = |line: &Line| line.bytes == message;
                let request = self.child.request(&message).until(is_last);
                poll_times(request, polls)
                    .await
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect()
            }
            3 => {
                let message = self.message("tells");
                drop(poll_times(self.child.notify(&message), polls).await);
                Vec::new()
            }
            4 => {
                drop(poll_times(self.child.send(&message), polls).await);
                Vec::new()
            }
            // Nothing may come, so it does not wait.
            _ => poll_times(self.child.recv(), 1)
                .await
                .into_iter()
                .flatten()
                .collect(),
        };
        for line in heard {
            assert!(
                line.bytes.starts_with(self.name.as_bytes()),
                "{line:?} to {}",
                self.name
            );
        }
    }
}
