//! Parked connections to instances, by workspace, boot id and how often the instance came back from being suspended: no instance
//! ever meets a connection of the one before (catalogue H-15), and no request is written on a connection that an instance
//! closes as the first thing after its sleep.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::link::Link;
use crate::{
    directory::{Endpoint, Entry},
    ids::{InstanceId, WorkspaceId},
};

/// Longest time that a connection is parked. Node closes after 5 s; this must be shorter, or a request meets a closing door.
const MAX_PARKED: Duration = Duration::from_secs(4);
/// Connections parked per instance; past it one more is closed.
const MAX_PER_INSTANCE: usize = 128;
/// Locks, so that threads rarely meet at one.
const SHARDS: usize = 16;

/// Whose connections.
pub(super) type Key = (WorkspaceId, InstanceId, u32);

/// The key of connections to what serves a workspace now.
pub(super) fn key(entry: &Entry, endpoint: &Endpoint) -> Key {
    (entry.id, endpoint.boot, endpoint.resumed)
}

// Boxed: a link is a kilobyte that is handed on, not copied.
type Shard = HashMap<Key, Vec<Box<Link>>>;

/// All parked connections. The last one parked is the first one out, so that the rest can age.
#[derive(Default)]
pub(super) struct Pool {
    shards: [Mutex<Shard>; SHARDS],
}

impl Pool {
    /// A connection that can take a request now.
    pub fn take(&self, key: Key) -> Option<Box<Link>> {
        loop {
            let mut link = self.shard(key).get_mut(&key)?.pop()?;
            // Outside the lock.
            if link.parked_at.elapsed() < MAX_PARKED && link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Parks a connection, unless it can't take another request.
    pub fn park(&self, key: Key, mut link: Box<Link>) {
        if !link.is_ready() {
            return;
        }
        link.parked_at = Instant::now();
        let mut shard = self.shard(key);
        let parked = shard.entry(key).or_default();
        if parked.len() < MAX_PER_INSTANCE {
            parked.push(link);
        }
    }

    /// Closes what was parked for too long. Called every second.
    pub fn sweep(&self) {
        for shard in &self.shards {
            let mut old = Vec::new();
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, parked| {
                // The oldest are in front.
                let fresh = parked.partition_point(|link| link.parked_at.elapsed() >= MAX_PARKED);
                old.extend(parked.drain(..fresh));
                !parked.is_empty()
            });
            drop(shard);
            // Closing sockets needs no lock.
            drop(old);
        }
    }

    fn shard(&self, (_, boot, _): Key) -> MutexGuard<'_, Shard> {
        // The last byte of a UUIDv7 is random.
        let index = usize::from(boot.0.as_bytes()[15]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
