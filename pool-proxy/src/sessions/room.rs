//! Which idle session ends, so that another client gets its child.
//!
//! With `sharing = "session"` each session holds a child, idle or not. When somebody waits for a child that a
//! limit does not allow, an idle session ends:
//!
//! * It is one of the principal that holds most children. The asker counts with the child that it waits for. If it
//!   holds as many as another one then, its own session ends. So a principal loses no child to one that holds as many.
//! * Of those it is the one whose last request ended first. A session with a request under way never ends; a
//!   stream that waits for news is no such request.
//! * A session that was used a short time ago is spared, unless its principal holds at least two children more
//!   than the asker. Then it still holds as many when one has gone over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Demand;
use crate::guard::Principal;

/// A session that may end.
#[derive(Debug)]
pub(super) struct Idle<S> {
    pub(super) session: S,
    pub(super) server: Arc<str>,
    pub(super) principal: Principal,
    /// Since its last request.
    pub(super) idle: Duration,
}

/// Which sessions end. `is_full`: no further child may be started at all. `already`: sessions that have ended,
/// whose children are not ending yet.
pub(super) fn choose<S>(
    demands: &[Demand],
    is_full: bool,
    already: usize,
    (mut idle, idle_min): (Vec<Idle<S>>, Duration),
) -> Vec<S> {
    let mut held = HashMap::new();
    for demand in demands {
        *held.entry(demand.principal.clone()).or_default() += demand.held;
    }
    let mut coming = already + demands.iter().map(|demand| demand.ending).sum::<usize>();
    let mut chosen = Vec::new();
    for demand in demands {
        let is_at_max = demand.held + demand.ending >= demand.max;
        if !is_full && !is_at_max {
            continue;
        }
        for _ in 0..demand.waiting {
            if coming > 0 {
                coming -= 1;
                continue;
            }
            let of = is_at_max.then_some(demand);
            let Some(place) = next(&demand.principal, of, &held, &idle, idle_min) else {
                break;
            };
            let ends = idle.swap_remove(place);
            *held.entry(ends.principal).or_default() -= 1;
            *held.entry(demand.principal.clone()).or_default() += 1;
            chosen.push(ends.session);
        }
    }
    chosen
}

/// Which one ends next for the asker. `of`: only its own of this server help.
fn next<S>(
    asker: &Principal,
    of: Option<&Demand>,
    held: &HashMap<Principal, usize>,
    idle: &[Idle<S>],
    idle_min: Duration,
) -> Option<usize> {
    let held = |principal: &Principal| held.get(principal).copied().unwrap_or_default();
    let own = held(asker) + 1;
    let may_end = |one: &Idle<S>| {
        let is_own = one.principal == *asker;
        let helps = of.is_none_or(|demand| is_own && one.server == demand.server);
        let is_above = !is_own && held(&one.principal) > own;
        helps && (is_own || held(&one.principal) >= own) && (is_above || one.idle >= idle_min)
    };
    let rank = |one: &Idle<S>| match one.principal == *asker {
        true => (own, true, one.idle),
        false => (held(&one.principal), false, one.idle),
    };
    let candidates = idle.iter().enumerate().filter(|(_, one)| may_end(one));
    let (place, _) = candidates.max_by_key(|(_, one)| rank(one))?;
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(10);

    fn demand(principal: &str, held: usize, waiting: usize) -> Demand {
        Demand {
            server: "s".into(),
            principal: Principal::of(principal),
            held,
            ending: 0,
            waiting,
            max: 100,
        }
    }

    /// Sessions by principal and idle seconds; each is named by its place.
    fn idle(all: &[(&str, u64)]) -> (Vec<Idle<usize>>, Duration) {
        let all = all.iter().enumerate();
        let all = all.map(|(session, (principal, seconds))| Idle {
            session,
            server: "s".into(),
            principal: Principal::of(principal),
            idle: Duration::from_secs(*seconds),
        });
        (all.collect(), MIN)
    }

    #[test]
    fn the_longest_idle_of_the_one_with_most_ends_however_short_it_was_idle() {
        let demands = [
            demand("many", 3, 0),
            demand("some", 2, 0),
            demand("new", 0, 1),
        ];
        let sessions = [("some", 99), ("many", 1), ("many", 2)];
        assert_eq!(choose(&demands, true, 0, idle(&sessions)), [2]);
        // The rest of `many` is at work: the next one loses.
        assert_eq!(choose(&demands, true, 0, idle(&[("some", 1)])), [0]);
    }

    #[test]
    fn nobody_loses_a_child_to_one_that_has_as_many() {
        let demands = [demand("one", 2, 0), demand("other", 2, 1)];
        assert!(choose(&demands, true, 0, idle(&[("one", 99)])).is_empty());
        // Its own, if that is idle for long enough.
        let sessions = [("one", 99), ("other", 11)];
        assert_eq!(choose(&demands, true, 0, idle(&sessions)), [1]);
        assert!(choose(&demands, true, 0, idle(&[("other", 9)])).is_empty());
    }

    #[test]
    fn one_child_more_is_no_reason_to_end_what_was_just_used() {
        let demands = [demand("one", 1, 0), demand("other", 0, 1)];
        assert!(choose(&demands, true, 0, idle(&[("one", 9)])).is_empty());
        assert_eq!(choose(&demands, true, 0, idle(&[("one", 10)])), [0]);
    }

    #[test]
    fn no_more_end_than_are_waited_for() {
        let demands = [demand("many", 9, 0), demand("new", 0, 3)];
        let sessions = [("many", 1); 9];
        assert_eq!(choose(&demands, true, 0, idle(&sessions)).len(), 3);
        assert_eq!(choose(&demands, true, 2, idle(&sessions)).len(), 1);
        let mut ending = demands.clone();
        ending[0].ending = 3;
        assert!(choose(&ending, true, 0, idle(&sessions)).is_empty());
        assert!(choose(&demands, false, 0, idle(&sessions)).is_empty());
        // Five against four is as even as it gets.
        let greedy = [demand("many", 9, 0), demand("new", 0, 9)];
        assert_eq!(choose(&greedy, true, 0, idle(&sessions)).len(), 4);
    }

    #[test]
    fn at_the_limit_of_a_server_only_its_own_sessions_of_it_help() {
        let mut full = demand("one", 2, 1);
        full.max = 2;
        let demands = [full, demand("many", 9, 0)];
        let (mut sessions, min) = idle(&[("many", 99), ("one", 50), ("one", 20)]);
        sessions[1].server = "another".into();
        assert_eq!(choose(&demands, false, 0, (sessions, min)), [2]);
    }
}
