//! Which members of a process group live, by what the system says of each process.

use std::io;

/// What the system says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) state: RunState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    Lives,
    Stopped,
    /// It waits for its parent to ask for its status.
    Zombie,
}

/// All process ids that a call lists, which writes as many as there is room for and says how many.
pub(super) fn all_of(
    mut list: impl FnMut(&mut [i32]) -> io::Result<usize>,
) -> io::Result<Vec<u32>> {
    let mut room = ROOM_FIRST;
    loop {
        let mut pids = vec![0; room];
        let count = list(&mut pids)?;
        // Order: a full list may not be all of it.
        if count < room || room >= ROOM_MAX {
            let listed = pids.into_iter().take(count);
            // The kernel itself has number 0.
            let listed = listed.filter_map(|pid| u32::try_from(pid).ok());
            return Ok(listed.filter(|pid| *pid > 0).collect());
        }
        room *= 4;
    }
}

/// Those of the listed that live and belong to the group. A dead one is listed until it is reaped, and
/// its number can be another's after that. What cannot be looked at counts as alive.
pub(super) fn living(
    group: u32,
    listed: Vec<u32>,
    look: impl Fn(u32) -> io::Result<Option<Seen>>,
) -> Vec<u32> {
    let lives = |pid: &u32| match look(*pid) {
        Ok(None) => false,
        Ok(Some(seen)) => seen.group == group && seen.state != RunState::Zombie,
        Err(_) => true,
    };
    listed.into_iter().filter(lives).collect()
}

const ROOM_FIRST: usize = 64;
const ROOM_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(group: u32, state: RunState) -> io::Result<Option<Seen>> {
        Ok(Some(Seen {
            parent: 1,
            group,
            state,
        }))
    }

    #[test]
    fn zombies_strangers_and_those_that_left_are_no_living_members() {
        let look = |pid| match pid {
            1 => seen(7, RunState::Lives),
            2 => seen(7, RunState::Zombie),
            3 => seen(7, RunState::Stopped),
            // Its number was used again.
            4 => seen(8, RunState::Lives),
            5 => Ok(None),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        };
        assert_eq!(living(7, (1..=6).collect(), look), [1, 3, 6]);
    }

    #[test]
    fn a_list_that_fills_the_room_is_asked_for_again() {
        for total in [0, 1, ROOM_FIRST - 1, ROOM_FIRST, 5000] {
            let mut calls = 0;
            let listed = all_of(|room| {
                calls += 1;
                let count = room.len().min(total);
                (1..).zip(&mut *room).for_each(|(pid, place)| *place = pid);
                Ok(count)
            });
            let expected: Vec<u32> = (1..).take(total).collect();
            assert_eq!(listed.unwrap(), expected);
            assert_eq!(calls > 1, total >= ROOM_FIRST);
        }
    }

    #[test]
    fn neither_the_kernel_nor_a_failure_is_a_list() {
        let listed = all_of(|room| {
            room[..3].copy_from_slice(&[5, 0, -1]);
            Ok(3)
        });
        assert_eq!(listed.unwrap(), [5]);
        assert!(all_of(|_| Err(io::ErrorKind::PermissionDenied.into())).is_err());
    }
}
