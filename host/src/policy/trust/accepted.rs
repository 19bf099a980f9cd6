//! The newest version of each policy that each tier ever accepted, kept on disk: an old signed module can't come back.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Statement;
use crate::ids::{Digest, TierName};

/// Bytes of the file; an entry has some 100.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// What was accepted of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    /// The signed version.
    version: u64,
    /// The module that had it.
    digest: Digest,
    /// The settings that had it, where they were signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<Digest>,
}

/// A statement in its place.
#[derive(Debug, Clone)]
pub struct Signed {
    /// `authorizer-2`.
    pub binding: String,
    /// What it says.
    pub statement: Statement,
}

/// By tier, then by [`role`].
type Entries = BTreeMap<String, BTreeMap<String, Accepted>>;

/// The file and what is in it. One loader owns it.
#[derive(Debug)]
pub struct AcceptedVersions {
    /// None forgets everything with the process.
    path: Option<PathBuf>,
    entries: Result<Entries, String>,
}

impl AcceptedVersions {
    /// Reads the file; a missing one is empty. One that can't be read refuses every signed policy, because nobody knows then
    /// what was accepted; the error is kept and told with each refusal.
    pub fn open(path: Option<PathBuf>) -> Self {
        let Some(path) = path else { return Self { path: None, entries: Ok(Entries::new()) } };
        let entries = read(&path).map_err(|reason| {
            format!(
                "the record of accepted versions {} can't be read: {reason}; restore it, or delete it to accept any version once",
                path.display()
            )
        });
        Self { path: Some(path), entries }
    }

    /// Whether a statement may serve: it is of the newest version, or newer.
    pub fn check(&self, tier: &TierName, signed: &Signed) -> Result<(), String> {
        let statement = &signed.statement;
        let entries = self.entries.as_ref().map_err(Clone::clone)?;
        let Some(newest) = entries.get(tier.as_str()).and_then(|tier| tier.get(&role(signed))) else {
            return Ok(());
        };
        let Statement { name, version, digest, settings, .. } = statement;
        if *version < newest.version {
            return Err(format!(
                "version {version} of {name} is older than version {}, which tier {tier} has accepted: to go back on purpose, \
                 sign the old module again with a version above it",
                newest.version
            ));
        }
        if *version == newest.version && *digest != newest.digest {
            return Err(format!(
                "version {version} of {name} was accepted with another module ({}): sign this one with a version above it",
                newest.digest.short()
            ));
        }
        if *version == newest.version && *settings != newest.settings {
            return Err(format!(
                "version {version} of {name} was accepted with other settings: sign these with a version above it"
            ));
        }
        Ok(())
    }

    /// Notes what a tier serves from now on; on disk before it returns. An older version than the noted one changes nothing.
    pub fn accept<'s>(
        &mut self,
        tier: &TierName,
        statements: impl IntoIterator<Item = &'s Signed>,
    ) -> Result<(), String> {
        let mut entries = self.entries.clone()?;
        let mut changed = false;
        for signed in statements {
            let of_tier = entries.entry(tier.to_string()).or_default();
            let Statement { version, digest, settings, .. } = signed.statement;
            if of_tier.get(&role(signed)).is_none_or(|newest| newest.version < version) {
                of_tier.insert(role(signed), Accepted { version, digest, settings });
                changed = true;
            }
        }
        if changed {
            if let Some(path) = &self.path {
                write(path, &entries)
                    .map_err(|error| format!("cannot note the accepted version in {}: {error}", path.display()))?;
            }
            self.entries = Ok(entries);
        }
        Ok(())
    }
}

/// A name may stand for a policy of each world; and one that is signed with its settings for another text in each binding of a chain.
fn role(signed: &Signed) -> String {
    let Statement { world, name, settings, .. } = &signed.statement;
    match settings {
        None => format!("{world}/{name}"),
        Some(_) => format!("{world}/{name}/{}", signed.binding),
    }
}

fn read(path: &Path) -> Result<Entries, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Whole and on the disk, or not at all.
fn write(path: &Path, entries: &Entries) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(entries)?)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(version: u64, module: &[u8]) -> Signed {
        let digest = Digest::of(module);
        let statement =
            Statement { digest, name: "claims".into(), world: "authorizer".into(), version, settings: None };
        Signed { binding: "authorizer".into(), statement }
    }

    #[test]
    fn versions_only_grow_across_restarts_and_per_tier() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("versions.json");
        let tier = |name: &str| name.parse::<TierName>().expect("a tier");
        let (pro, free) = (tier("pro"), tier("free"));
        let mut ledger = AcceptedVersions::open(Some(path.clone()));
        assert!(ledger.check(&pro, &statement(6, b"six")).is_ok());
        ledger.accept(&pro, [&statement(7, b"seven")]).expect("noted");
        let ledger = AcceptedVersions::open(Some(path.clone()));
        let older = ledger.check(&pro, &statement(6, b"six")).expect_err("older");
        assert!(older.contains("version 6 of claims is older than version 7") && older.contains("tier pro"), "{older}");
        assert!(ledger.check(&pro, &statement(7, b"seven")).is_ok(), "the same again");
        assert!(ledger.check(&pro, &statement(7, b"other")).expect_err("another").contains("another module"));
        assert!(ledger.check(&pro, &statement(8, b"eight")).is_ok());
        assert!(ledger.check(&free, &statement(6, b"six")).is_ok(), "another tier");
        // With settings: each binding of a chain has a text of its own, and an older one does not come back.
        let text = |version, binding: &str, settings: &[u8]| {
            let Signed { statement, .. } = statement(version, b"rego");
            Signed {
                binding: binding.into(),
                statement: Statement { settings: Some(Digest::of(settings)), ..statement },
            }
        };
        let mut ledger = ledger;
        ledger.accept(&pro, [&text(9, "authorizer", b"nine"), &text(3, "authorizer-2", b"three")]).expect("noted");
        assert!(
            ledger.check(&pro, &text(8, "authorizer", b"eight")).expect_err("older").contains("older than version 9")
        );
        assert!(ledger.check(&pro, &text(9, "authorizer", b"other")).expect_err("other").contains("other settings"));
        assert!(ledger.check(&pro, &text(4, "authorizer-2", b"four")).is_ok());
    }

    #[test]
    fn a_damaged_record_refuses_and_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("versions.json");
        fs::write(&path, "{").expect("written");
        let pro: TierName = "pro".parse().expect("a tier");
        let mut ledger = AcceptedVersions::open(Some(path.clone()));
        let refused = ledger.check(&pro, &statement(1, b"m")).expect_err("unknown");
        assert!(refused.contains("versions.json") && refused.contains("restore it"), "{refused}");
        assert!(ledger.accept(&pro, [&statement(1, b"m")]).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "{", "never overwritten");
    }
}
