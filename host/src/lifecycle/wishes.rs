//! What people and the memory guard ask of sleeping and waking. In memory: the controller takes a wish up at its next look and
//! writes what follows from it to the registry; whoever asked waits for that.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::ladder::Asked;
use crate::ids::WorkspaceId;

/// All wishes that were not taken up yet. Bounded: the newest one per workspace counts.
#[derive(Default)]
pub(super) struct Wishes {
    asked: Mutex<HashMap<WorkspaceId, Wish>>,
    pressed: Mutex<HashSet<WorkspaceId>>,
}

/// One wish, and who waits for it to be written down.
pub(super) struct Wish {
    pub asked: Asked,
    pub heard: Heard,
}

/// Told once the wish is written down; dropped if a newer one took its place.
pub(super) type Heard = oneshot::Sender<()>;

impl Wishes {
    /// Asks; the receiver is told when the controller has written down what follows.
    pub(super) fn ask(&self, id: WorkspaceId, asked: Asked) -> oneshot::Receiver<()> {
        let (heard, written) = oneshot::channel();
        lock(&self.asked).insert(id, Wish { asked, heard });
        written
    }

    /// The newest wish.
    pub(super) fn take(&self, id: WorkspaceId) -> Option<Wish> {
        lock(&self.asked).remove(&id)
    }

    /// Memory is short: this one shall sleep.
    pub(super) fn press(&self, id: WorkspaceId) {
        lock(&self.pressed).insert(id);
    }

    /// Whether it shall; once.
    pub(super) fn take_pressed(&self, id: WorkspaceId) -> bool {
        lock(&self.pressed).remove(&id)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wish_counts_and_each_is_taken_once() {
        let (wishes, id) = (Wishes::default(), WorkspaceId::generate());
        let mut first = wishes.ask(id, Asked::Sleep);
        let mut second = wishes.ask(id, Asked::Wake);
        assert!(first.try_recv().is_err(), "dropped: another one took its place");
        let wish = wishes.take(id).expect("asked");
        assert_eq!(wish.asked, Asked::Wake);
        wish.heard.send(()).expect("someone waits");
        assert_eq!(second.try_recv(), Ok(()));
        assert!(wishes.take(id).is_none());
        wishes.press(id);
        assert!(wishes.take_pressed(id) && !wishes.take_pressed(id));
    }
}
