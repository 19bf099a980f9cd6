//! The secret paths under which instances ask orbitd for keys and user info. `lifecycle` writes, the internal listener (`api`)
//! reads. A path lives as long as its instance.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Entry;

/// Per-instance secret → whose instance it is.
#[derive(Default)]
pub struct InternalPaths {
    table: RwLock<HashMap<String, Arc<Entry>>>,
}

impl InternalPaths {
    /// Adds an instance's secret (64 hex digits).
    pub fn insert(&self, secret: String, entry: Arc<Entry>) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(secret, entry);
    }

    /// Takes it away.
    pub fn remove(&self, secret: &str) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(secret);
    }

    /// Whose instance this is. The secret is 256 random bits, so the time of a hash lookup tells nothing about it.
    pub fn get(&self, secret: &str) -> Option<Arc<Entry>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(secret).cloned()
    }
}
