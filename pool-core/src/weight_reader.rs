//! How the weights of connections are read, in bounded time and by a bounded number of threads.
//!
//! # Algorithm
//!
//! A *reader* asks one connection after the other for its weight, on a thread for blocking work. That is
//! foreign code, and can hang. If a reader has got no further for [`WEIGHT_PATIENCE`], the weight it waits
//! for is late, and another reader goes on with the rest. The first one ends when its call does.
//!
//! # Bounds
//!
//! A pool has at most [`READERS_MAX`] readers, those that hang included. If there is none left, every
//! weight that was not read is late at once.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::foreign::{catch, drop_quietly, log};
use crate::id::ConnectionId;
use crate::store::{SlotKey, Weighable, Weight, WeightReading};
use crate::sync::{Arc, Mutex, Permit, Permits};

/// How many readers a pool has at most.
pub(crate) const READERS_MAX: usize = 4;

/// For how long a reader may get no further.
const WEIGHT_PATIENCE: Duration = Duration::from_secs(2);

/// Reads the weights of all these connections.
pub(crate) async fn read_weights(
    readers: &Permits,
    weighable: Vec<Weighable>,
) -> Vec<WeightReading> {
    let mut readings = Vec::with_capacity(weighable.len());
    let mut rest = VecDeque::from(weighable);
    while !rest.is_empty() {
        let Some(place) = readers.try_take() else {
            readings.extend(rest.into_iter().map(without_reader));
            break;
        };
        rest = read_some(place, rest, &mut readings).await;
    }
    readings
}

/// Has a reader read them, and returns those that are left if it hangs.
async fn read_some(
    place: Permit,
    rest: VecDeque<Weighable>,
    readings: &mut Vec<WeightReading>,
) -> VecDeque<Weighable> {
    let work = Arc::new(Mutex::new(Work::of(rest)));
    let mut reader = spawn_blocking({
        let work = Arc::clone(&work);
        move || {
            read(&work);
            drop(place);
        }
    });
    let mut read_before = 0;
    loop {
        let waited = tokio::time::timeout(WEIGHT_PATIENCE, &mut reader).await;
        let mut work = work.lock();
        match waited {
            Ok(Ok(())) => return work.take_over(readings),
            // The runtime shuts down, and starts no further reader.
            Ok(Err(_)) => return VecDeque::new(),
            Err(_) if work.readings.len() == read_before => return work.take_over(readings),
            Err(_) => read_before = work.readings.len(),
        }
    }
}

/// What a reader does.
fn read(work: &Mutex<Work>) {
    loop {
        // Order: unlocked before foreign code runs.
        let next = work.lock().begin();
        let Some(Weighable { key, id, vitals }) = next else {
            return;
        };
        let weight = catch("weight", || vitals.get().weight()).unwrap_or_else(|fault| {
            log(&fault);
            None
        });
        // Order: before the reading is there. It is weighed again only if nobody else has its vitals.
        drop_quietly(vitals);
        let weight = weight.map_or(Weight::Unknown, Weight::Measured);
        work.lock().end(WeightReading { key, id, weight });
    }
}

fn without_reader(weighable: Weighable) -> WeightReading {
    let Weighable { key, id, vitals } = weighable;
    drop_quietly(vitals);
    let weight = Weight::Late;
    WeightReading { key, id, weight }
}

/// What a reader has to do and what it has done.
#[derive(Debug)]
struct Work {
    rest: VecDeque<Weighable>,
    /// The connection that is being asked.
    asked: Option<(SlotKey, ConnectionId)>,
    readings: Vec<WeightReading>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.rest.drain(..).for_each(drop_quietly);
    }
}

impl Work {
    const fn of(rest: VecDeque<Weighable>) -> Self {
        Self {
            rest,
            asked: None,
            readings: Vec::new(),
        }
    }

    fn begin(&mut self) -> Option<Weighable> {
        let next = self.rest.pop_front()?;
        self.asked = Some((next.key, next.id));
        Some(next)
    }

    fn end(&mut self, reading: WeightReading) {
        self.asked = None;
        self.readings.push(reading);
    }

    /// Takes everything from the reader: what it read, the late one, and the rest. It ends when its
    /// present call does, and what it reads then is lost.
    fn take_over(&mut self, readings: &mut Vec<WeightReading>) -> VecDeque<Weighable> {
        readings.append(&mut self.readings);
        let late = self.asked.take().map(|(key, id)| WeightReading {
            key,
            id,
            weight: Weight::Late,
        });
        readings.extend(late);
        std::mem::take(&mut self.rest)
    }
}
