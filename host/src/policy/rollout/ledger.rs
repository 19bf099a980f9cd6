//! Where verdicts and the versions they are about rest: `<folder>/ledger.json` and `<folder>/modules/<digest>.wasm`, for the daemon alone.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use orbit_engine::MAX_MODULE_BYTES;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Record, Why};
use crate::ids::Digest;

/// Of the file's form; another one is refused.
const FORMAT: u32 = 1;
const MAX_EVENTS: usize = 100;

/// All bindings' records.
pub(in crate::policy) struct Ledger {
    /// None forgets everything with the process.
    folder: Option<PathBuf>,
    state: State,
    /// Modules without a folder.
    modules: BTreeMap<Digest, Vec<u8>>,
}

#[derive(Default, PartialEq, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    /// By `<tier>/<binding>`.
    bindings: BTreeMap<String, Record>,
    events: VecDeque<RolloutEvent>,
}

/// Something that was decided about a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutEvent {
    /// When (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Which class.
    pub tier: String,
    /// Which role.
    pub binding: String,
    /// `promoted`, `rolled-back`, `resumed` or `budget-spent`.
    pub what: String,
    /// Which version it is about.
    pub digest: Option<Digest>,
    /// Who.
    pub by: Why,
    /// A sentence.
    pub reason: String,
}

impl Ledger {
    /// Reads what is there, or begins anew.
    pub fn open(folder: Option<PathBuf>) -> Result<Self, String> {
        let state = match &folder {
            None => State { format: FORMAT, ..State::default() },
            Some(folder) => {
                let file = folder.join("ledger.json");
                let wrong = |why: String| {
                    format!(
                        "cannot use {}: {why}. It holds which policies were promoted and rolled back; restore it, or move it away: \
                         then the tiers' files alone decide",
                        file.display()
                    )
                };
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder.join("modules"))
                    .map_err(|error| wrong(error.to_string()))?;
                match fs::read(&file) {
                    Ok(bytes) => {
                        let state: State = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
                        if state.format != FORMAT {
                            return Err(wrong(format!("its format is {}, this orbitd knows {FORMAT}", state.format)));
                        }
                        state
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        State { format: FORMAT, ..State::default() }
                    }
                    Err(error) => return Err(wrong(error.to_string())),
                }
            }
        };
        Ok(Self { folder, state, modules: BTreeMap::new() })
    }

    /// A binding's record.
    pub fn record(&self, tier: &str, binding: &str) -> Option<&Record> {
        self.state.bindings.get(&key(tier, binding))
    }

    /// Replaces it.
    pub fn set(&mut self, tier: &str, binding: &str, record: Record) {
        self.state.bindings.insert(key(tier, binding), record);
    }

    /// What happened lately, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &RolloutEvent> {
        self.state.events.iter()
    }

    /// Writes something down.
    pub fn note(&mut self, event: RolloutEvent) {
        if self.state.events.len() >= MAX_EVENTS {
            self.state.events.pop_front();
        }
        self.state.events.push_back(event);
    }

    /// Keeps a module's bytes.
    pub fn keep(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), String> {
        let Some(folder) = &self.folder else {
            self.modules.entry(digest).or_insert_with(|| bytes.to_vec());
            return Ok(());
        };
        let path = module_file(folder, digest);
        if path.is_file() {
            return Ok(());
        }
        replace(&path, bytes).map_err(|error| format!("cannot keep a module as {}: {error}", path.display()))
    }

    /// A kept module's bytes, checked against the digest.
    pub fn module(&self, digest: Digest) -> Result<Vec<u8>, String> {
        let next = "`orbitd policy resume` goes back to what the tier's file says";
        let Some(folder) = &self.folder else {
            return self
                .modules
                .get(&digest)
                .cloned()
                .ok_or_else(|| format!("the kept module {} is gone; {next}", digest.short()));
        };
        let path = module_file(folder, digest);
        let bad = |why: String| format!("the kept module {}: {why}; {next}", path.display());
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| bad(error.to_string()))?;
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(bad("it is damaged".to_owned())) }
    }

    /// Makes it durable, and drops modules that no record needs.
    pub fn save(&mut self) -> Result<(), String> {
        let needed: BTreeSet<Digest> = self.state.bindings.values().flat_map(Record::digests).collect();
        self.modules.retain(|digest, _| needed.contains(digest));
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join("ledger.json");
        let text = serde_json::to_vec_pretty(&self.state).map_err(|error| error.to_string())?;
        if fs::read(&file).is_ok_and(|known| known == text) {
            return Ok(());
        }
        replace(&file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let needed: BTreeSet<PathBuf> = needed.into_iter().map(|digest| module_file(folder, digest)).collect();
        for entry in fs::read_dir(folder.join("modules")).into_iter().flatten().flatten() {
            if !needed.contains(&entry.path()) {
                // What can't be removed now is removed by the next change.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

fn key(tier: &str, binding: &str) -> String {
    format!("{tier}/{binding}")
}

fn module_file(folder: &Path, digest: Digest) -> PathBuf {
    folder.join("modules").join(format!("{}.wasm", hex::encode(digest.as_bytes())))
}

/// The whole file or the old one, also after a crash.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_survives_and_damage_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("rollouts");
        let mut ledger = Ledger::open(Some(folder.clone())).expect("new");
        let digest = Digest::of(b"module");
        ledger.keep(digest, b"module").expect("kept");
        ledger.set("pro", "router", Record::default());
        let (at, binding) = (OffsetDateTime::UNIX_EPOCH, "router".to_owned());
        let event = RolloutEvent {
            at,
            tier: "pro".into(),
            binding,
            what: "promoted".into(),
            digest: Some(digest),
            by: Why::Operator,
            reason: String::new(),
        };
        ledger.note(event.clone());
        ledger.module(digest).expect("there");
        ledger.save().expect("saved");
        let again = Ledger::open(Some(folder.clone())).expect("read");
        assert_eq!(again.record("pro", "router"), Some(&Record::default()));
        assert_eq!(again.events().collect::<Vec<_>>(), [&event]);
        assert!(again.module(digest).is_err(), "no record needs it: it is gone");
        fs::write(folder.join("ledger.json"), "{").expect("written");
        let error = Ledger::open(Some(folder)).err().expect("damaged");
        assert!(error.contains("ledger.json") && error.contains("move it away"), "{error}");
    }
}
