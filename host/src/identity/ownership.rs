//! Which groups a user was last minted a token for. Backstage asks orbitd's user info only with *limited* user tokens (plugins
//! calling plugins, cookies), and those carry no ownership: without this memory such a user would own nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Users remembered per workspace; past it the one whose token ends first is forgotten.
const MAX_USERS: usize = 4_096;

/// User entity ref → (end of the last token in seconds since the epoch, ownership refs). Empty, it holds no heap memory.
#[derive(Default)]
pub(super) struct Ownership(Mutex<HashMap<String, (i64, Vec<String>)>>);

impl Ownership {
    /// Remembers what a token that ends at `expires_at` says.
    pub(super) fn remember(&self, user: &str, ownership: &[String], expires_at: i64) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MAX_USERS && !users.contains_key(user) {
            let first = users.iter().min_by_key(|(_, (ends, _))| *ends).map(|(user, _)| user.clone());
            first.and_then(|first| users.remove(&first));
        }
        users.insert(user.to_owned(), (expires_at, ownership.to_vec()));
    }

    /// What the user owned last; at least themselves.
    pub(super) fn of(&self, user: &str) -> Vec<String> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.get(user).map_or_else(|| vec![user.to_owned()], |(_, ownership)| ownership.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_who_ends_first() {
        let memory = Ownership::default();
        for index in 0..=MAX_USERS {
            memory.remember(&format!("user:default/u{index}"), &["group:default/g".to_owned()], index as i64);
        }
        assert_eq!(memory.0.lock().expect("not poisoned").len(), MAX_USERS);
        assert_eq!(memory.of("user:default/u0"), ["user:default/u0"]);
        assert_eq!(memory.of("user:default/u1"), ["group:default/g"]);
    }
}
