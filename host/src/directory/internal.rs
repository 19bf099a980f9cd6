//! Who is asking on the internal listener: per-instance secret → the workspace it belongs to. Lifecycle writes it as
//! instances come and go; the internal listener reads it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Entry;

/// The secrets of all living instances.
#[derive(Default)]
pub struct InternalPaths(RwLock<HashMap<String, Arc<Entry>>>);

impl InternalPaths {
    /// From now on this secret speaks for this workspace.
    pub fn insert(&self, secret: String, entry: Arc<Entry>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(secret, entry);
    }
    /// The instance is gone.
    pub fn remove(&self, secret: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(secret);
    }
    /// Whose instance it is.
    pub fn get(&self, secret: &str) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(secret).cloned()
    }
}
