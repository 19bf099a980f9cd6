//! Decisions that need not be made again.
//!
//! A policy is a function of what it declared (WIT: `description.inputs`), so the same inputs have the same answer. The key is
//! those inputs themselves, not a hash of them: two requests never share an answer by accident. A memory belongs to one loaded
//! policy (module, settings, limits) and goes with it. Only answers are remembered, never failures.

use quick_cache::{Weighter, sync::Cache};

/// Bytes of keys and answers that one policy may hold.
const MAX_BYTES: u64 = 4 << 20;
/// A longer key is not worth its place.
const MAX_KEY_BYTES: usize = 4 << 10;
/// Of an entry beside its key, about.
const ENTRY_BYTES: u64 = 256;

/// Answers of one policy by their inputs.
pub struct Remembered<A> {
    cache: Cache<Box<[u8]>, A, Weight>,
}

#[derive(Clone)]
struct Weight;

impl<A> Weighter<Box<[u8]>, A> for Weight {
    fn weight(&self, key: &Box<[u8]>, _: &A) -> u64 {
        ENTRY_BYTES + key.len() as u64
    }
}

/// A key under construction: each part with its length, so that no two lists of parts look alike.
#[derive(Default)]
pub struct Key(Vec<u8>);

impl Key {
    /// Room for a usual request.
    pub fn new() -> Self {
        Self(Vec::with_capacity(256))
    }
    /// One more input.
    pub fn push(&mut self, part: &str) {
        self.0.extend_from_slice(&(part.len() as u32).to_le_bytes());
        self.0.extend_from_slice(part.as_bytes());
    }
    /// A list of names and values.
    pub fn push_pairs<V: AsRef<str>>(&mut self, pairs: &[(&str, V)]) {
        self.0.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
        for (name, value) in pairs {
            self.push(name);
            self.push(value.as_ref());
        }
    }
}

impl<A: Clone> Remembered<A> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { cache: Cache::with_weighter((MAX_BYTES / ENTRY_BYTES) as usize, MAX_BYTES, Weight) }
    }

    /// What was answered to these inputs.
    pub fn recall(&self, key: &Key) -> Option<A> {
        // A key that is not worth its place was not kept.
        self.cache.get(key.0.as_slice())
    }

    /// Remembers an answer, if its inputs are not too long.
    pub fn keep(&self, key: Key, answer: A) {
        if key.0.len() <= MAX_KEY_BYTES {
            self.cache.insert(key.0.into_boxed_slice(), answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> Key {
        let mut key = Key::new();
        parts.iter().for_each(|part| key.push(part));
        key
    }

    #[test]
    fn an_answer_belongs_to_exactly_its_inputs() {
        let remembered = Remembered::new();
        remembered.keep(key(&["a", "bc"]), 1);
        assert_eq!(remembered.recall(&key(&["a", "bc"])), Some(1));
        assert_eq!(remembered.recall(&key(&["ab", "c"])), None, "other parts, other key");
        let mut pairs = Key::new();
        pairs.push_pairs(&[("a", "bc")]);
        assert_eq!(remembered.recall(&pairs), None);
        let long = "x".repeat(MAX_KEY_BYTES + 1);
        remembered.keep(key(&[&long]), 1);
        assert_eq!(remembered.recall(&key(&[&long])), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let remembered = Remembered::new();
        for n in 0..100_000 {
            remembered.keep(key(&[&n.to_string()]), n);
        }
        assert!(remembered.cache.weight() <= MAX_BYTES && remembered.cache.len() > 1_000);
    }
}
