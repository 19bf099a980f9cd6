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
    pub fn push_pairs(&mut self, pairs: &[(&str, &str)]) {
        self.0.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
        for (name, value) in pairs {
            self.push(name);
            self.push(value);
        }
    }
}

impl<A: Clone> Remembered<A> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { cache: Cache::with_weighter((MAX_BYTES / ENTRY_BYTES) as usize, MAX_BYTES, Weight) }
    }

    /// The remembered answer, or the one that `decide` gives now.
    pub fn or_decide<E>(&self, key: Key, decide: impl FnOnce() -> Result<A, E>) -> Result<A, E> {
        if key.0.len() > MAX_KEY_BYTES {
            return decide();
        }
        if let Some(answer) = self.cache.get(key.0.as_slice()) {
            return Ok(answer);
        }
        let answer = decide()?;
        self.cache.insert(key.0.into_boxed_slice(), answer.clone());
        Ok(answer)
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
    fn the_same_inputs_are_decided_once_and_failures_again() {
        let remembered = Remembered::new();
        assert_eq!(remembered.or_decide(key(&["a", "bc"]), || Err("failed")), Err("failed"));
        assert_eq!(remembered.or_decide(key(&["a", "bc"]), || Ok::<_, ()>(1)), Ok(1));
        assert_eq!(remembered.or_decide(key(&["a", "bc"]), || Ok::<_, ()>(2)), Ok(1));
        assert_eq!(remembered.or_decide(key(&["ab", "c"]), || Ok::<_, ()>(3)), Ok(3), "other parts, other key");
        let mut pairs = Key::new();
        pairs.push_pairs(&[("a", "bc")]);
        assert_eq!(remembered.or_decide(pairs, || Ok::<_, ()>(4)), Ok(4));
    }

    #[test]
    fn the_memory_is_bounded() {
        let remembered = Remembered::new();
        for n in 0..100_000 {
            let _ = remembered.or_decide(key(&[&n.to_string()]), || Ok::<_, ()>(n));
        }
        assert!(remembered.cache.weight() <= MAX_BYTES && remembered.cache.len() > 1_000);
    }
}
