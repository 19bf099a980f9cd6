//! Who is rolled out now, and who waits for that: first come, first served, but a workspace whose tier is at its own limit does
//! not keep those behind it waiting. In memory alone: after a restart of the daemon everyone asks again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::facts::Turn;
use crate::ids::{TierName, WorkspaceId};

/// Bounded by the number of workspaces: each stands in it once.
pub(super) struct Turns {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    granted: HashMap<WorkspaceId, TierName>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    id: WorkspaceId,
    tier: TierName,
    max_of_tier: usize,
}

impl Turns {
    /// At most `max` (1 at least) at the same time.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), state: Mutex::default() }
    }

    /// Stands in the queue, unless it does already. Returns who is granted a turn by that.
    pub(super) fn ask(&self, id: WorkspaceId, tier: &TierName, max_of_tier: Option<usize>) -> Vec<WorkspaceId> {
        let mut state = self.lock();
        let known = state.granted.contains_key(&id) || state.waiting.iter().any(|one| one.id == id);
        if !known {
            let max_of_tier = max_of_tier.unwrap_or(usize::MAX).max(1);
            state.waiting.push_back(Waiting { id, tier: tier.clone(), max_of_tier });
        }
        state.grant(self.max)
    }

    /// Where it stands.
    pub(super) fn of(&self, id: WorkspaceId) -> Turn {
        let state = self.lock();
        if state.granted.contains_key(&id) {
            return Turn::Granted;
        }
        let before = state.waiting.iter().position(|one| one.id == id);
        before.map_or(Turn::NotAsked, |before| Turn::Waiting(before + state.granted.len()))
    }

    /// Gives up its turn or its place. Returns who is granted a turn by that.
    pub(super) fn leave(&self, id: WorkspaceId) -> Vec<WorkspaceId> {
        let mut state = self.lock();
        let waiting = state.waiting.len();
        state.waiting.retain(|one| one.id != id);
        if state.granted.remove(&id).is_none() && state.waiting.len() == waiting {
            return Vec::new();
        }
        state.grant(self.max)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grant(&mut self, max: usize) -> Vec<WorkspaceId> {
        let mut granted = Vec::new();
        while self.granted.len() < max {
            let of_tier = |tier: &TierName| self.granted.values().filter(|other| *other == tier).count();
            let Some(next) = self.waiting.iter().position(|one| of_tier(&one.tier) < one.max_of_tier) else { break };
            let Some(Waiting { id, tier, .. }) = self.waiting.remove(next) else { break };
            self.granted.insert(id, tier);
            granted.push(id);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_granted_in_order_within_both_limits() {
        let (turns, ids) = (Turns::new(2), [(); 4].map(|()| WorkspaceId::generate()));
        let [pro, free]: [TierName; 2] = ["pro", "free"].map(|name| name.parse().expect("a tier"));
        assert_eq!(turns.ask(ids[0], &pro, Some(1)), [ids[0]]);
        assert_eq!(turns.ask(ids[1], &pro, Some(1)), [], "its tier has one already");
        assert_eq!(turns.ask(ids[2], &free, None), [ids[2]], "another tier need not wait behind it");
        assert_eq!(turns.ask(ids[3], &free, None), []);
        assert_eq!(turns.ask(ids[3], &free, None), [], "standing in it once");
        assert_eq!((turns.of(ids[0]), turns.of(ids[3])), (Turn::Granted, Turn::Waiting(3)));
        assert_eq!(turns.leave(ids[0]), [ids[1]], "the first of those that wait");
        assert_eq!(turns.leave(ids[1]), [ids[3]]);
        assert_eq!(turns.leave(ids[1]), [], "leaving twice is nothing");
        assert_eq!(turns.of(ids[1]), Turn::NotAsked);
    }
}
