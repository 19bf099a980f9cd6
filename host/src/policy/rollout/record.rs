//! What was decided about the versions of one binding. Pure: no files, no clock.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    ids::Digest,
    policy::binding::{Class, LimitSettings},
};

/// Versions that are kept to go back to, the one that serves included.
const MAX_HISTORY: usize = 5;
/// Versions that are remembered as rolled back.
const MAX_REJECTED: usize = 20;

/// One binding's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::policy) struct Record {
    /// What the tier's file says should serve, as of the last load.
    file: Option<Digest>,
    /// What served, the one that serves now last.
    history: Vec<Kept>,
    /// What is rolled out beside it.
    candidate: Option<Kept>,
    /// What serves instead of what the file says.
    instead: Option<Instead>,
    rejected: Vec<HeldBack>,
}

/// A version that can be served again without its file; the module's bytes are beside the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Kept {
    /// Of module, settings and limits together.
    pub id: Digest,
    /// As the tier's file named it.
    pub module: String,
    /// Of the module.
    pub digest: Digest,
    /// A JSON object as text.
    pub settings: String,
    pub limits: LimitSettings,
    /// What kind of module it is.
    #[serde(default)]
    pub class: Class,
    /// Whether its answers are remembered.
    pub memory: bool,
    /// Text of its signature, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// When it began to serve (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instead {
    serve: Digest,
    /// What the file said then. It says something else: this is void.
    over: Digest,
    promoted: bool,
}

/// A version that was rolled back, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldBack {
    /// Of module, settings and limits together.
    #[serde(rename = "version_id")]
    pub id: Digest,
    /// Of the module.
    pub digest: Digest,
    /// A sentence.
    pub reason: String,
    /// Who.
    pub by: Why,
    /// When (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A command.
    Operator,
    /// A spent error budget.
    ErrorBudget,
}

/// What serves, against what the file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::policy) struct Verdict {
    pub serves: Serves,
    /// What the file says should serve and does not.
    pub file_held_back: Option<HeldBack>,
    /// What the file says should be rolled out and is not.
    pub next_held_back: Option<HeldBack>,
}

/// What a rollback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Which {
    /// What is rolled out, if something is; else what serves.
    Newest,
    /// What serves.
    Serving,
}

/// Why this version serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serves {
    /// The tier's file says so.
    #[default]
    File,
    /// It was promoted; the file still has it as `next`.
    Promoted,
    /// The one in the file was rolled back.
    RolledBack,
}

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) struct Refusal(pub String);

impl Record {
    /// The file says now that `file` should serve. What was decided while it said something else is void: true.
    pub fn heed(&mut self, file: Digest) -> bool {
        self.file = Some(file);
        let void = self.instead.as_ref().is_some_and(|instead| instead.over != file);
        if void {
            self.instead = None;
            // Whoever writes a version into the file that was rolled back wants it.
            self.rejected.retain(|held| held.id != file);
        }
        void
    }

    /// What serves instead of what the file says.
    pub fn instead(&self) -> Option<&Kept> {
        let instead = self.instead.as_ref()?;
        self.history.iter().find(|kept| kept.id == instead.serve)
    }

    /// Whether this version was rolled back.
    pub fn held_back(&self, id: Digest) -> Option<&HeldBack> {
        self.rejected.iter().find(|held| held.id == id)
    }

    /// Why what serves does.
    pub fn serves(&self) -> Serves {
        match &self.instead {
            None => Serves::File,
            Some(instead) if instead.promoted => Serves::Promoted,
            Some(_) => Serves::RolledBack,
        }
    }

    /// This version serves now; since when.
    pub fn served(&mut self, mut version: Kept) -> OffsetDateTime {
        if let Some(last) = self.history.last().filter(|last| last.id == version.id) {
            version.since = last.since;
        }
        let since = version.since;
        self.history.retain(|kept| kept.id != version.id);
        self.history.push(version);
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
        since
    }

    /// This version is rolled out beside it now; since when.
    pub fn tries(&mut self, version: Option<Kept>) -> Option<OffsetDateTime> {
        let since = match (&self.candidate, &version) {
            (Some(known), Some(new)) if known.id == new.id => Some(known.since),
            (_, new) => new.as_ref().map(|new| new.since),
        };
        self.candidate = version.map(|version| Kept { since: since.unwrap_or(version.since), ..version });
        since
    }

    /// Where a rollback would lead.
    pub fn earlier(&self) -> Option<&Kept> {
        let serving = self.history.last()?.id;
        self.history.iter().rev().find(|kept| kept.id != serving && self.held_back(kept.id).is_none())
    }

    /// What is rolled out becomes what serves.
    pub fn promote(&mut self) -> Result<Kept, Refusal> {
        let (Some(candidate), Some(over)) = (self.candidate.clone(), self.file) else {
            return Err(Refusal(match self.instead {
                Some(Instead { promoted: true, .. }) => "its next version is promoted already".to_owned(),
                _ => "no next version of it runs: add [<binding>.next] to the tier's file; one that was rolled back \
                      runs again after `orbitd policy resume`"
                    .to_owned(),
            }));
        };
        self.instead = Some(Instead { serve: candidate.id, over, promoted: true });
        self.candidate = None;
        // Not served yet, but findable; `served` puts it last.
        let at = self.history.len().saturating_sub(1);
        self.history.retain(|kept| kept.id != candidate.id);
        self.history.insert(at.min(self.history.len()), candidate.clone());
        Ok(candidate)
    }

    /// What is rolled out is over; or, if nothing is or `which` says so, what serves makes place for what served before. The version that
    /// goes, and the one that serves then.
    pub fn roll_back(
        &mut self,
        which: Which,
        by: Why,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<(Kept, Kept), Refusal> {
        let serving = self.history.last().cloned().ok_or_else(|| Refusal("nothing serves here".to_owned()))?;
        if let Some(candidate) = self.candidate.take_if(|_| which == Which::Newest) {
            self.reject(&candidate, by, reason, at);
            return Ok((candidate, serving));
        }
        let earlier = self.earlier().cloned().ok_or_else(|| {
            Refusal(
                "there is no earlier version to go back to: none served here before, or all were rolled back".into(),
            )
        })?;
        self.reject(&serving, by, reason, at);
        self.instead = match self.file {
            Some(file) if file != earlier.id => Some(Instead { serve: earlier.id, over: file, promoted: false }),
            _ => None,
        };
        Ok((serving, earlier))
    }

    /// Forgets what was decided: the file decides.
    pub fn resume(&mut self) -> Result<(), Refusal> {
        if self.instead.is_none() && self.rejected.is_empty() {
            return Err(Refusal("nothing was decided over the tier's file".to_owned()));
        }
        self.instead = None;
        self.rejected.clear();
        Ok(())
    }

    /// Modules that it needs.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.history.iter().chain(&self.candidate).map(|kept| kept.digest)
    }

    fn reject(&mut self, version: &Kept, by: Why, reason: &str, at: OffsetDateTime) {
        self.rejected.retain(|held| held.id != version.id);
        self.rejected.push(HeldBack { id: version.id, digest: version.digest, reason: reason.to_owned(), by, at });
        if self.rejected.len() > MAX_REJECTED {
            self.rejected.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn version(name: &str) -> Kept {
        let id = Digest::of(name.as_bytes());
        let limits = LimitSettings::default();
        Kept {
            id,
            module: name.into(),
            digest: id,
            settings: "{}".into(),
            limits,
            class: Class::Policy,
            memory: true,
            signature: None,
            since: NOW,
        }
    }
    /// A load of a file that says this; what serves, and what is rolled out.
    fn load(record: &mut Record, file: &str, next: Option<&str>) -> (String, Option<String>) {
        let file = version(file);
        record.heed(file.id);
        let serving = record.instead().cloned().unwrap_or(file);
        let next = next.map(version).filter(|next| next.id != serving.id && record.held_back(next.id).is_none());
        record.served(serving.clone());
        record.tries(next.clone());
        (serving.module, next.map(|next| next.module))
    }
    fn both(serving: &str, next: Option<&str>) -> (String, Option<String>) {
        (serving.to_owned(), next.map(str::to_owned))
    }

    #[test]
    fn a_promoted_version_serves_until_the_file_says_something_else() {
        let mut record = Record::default();
        assert_eq!(load(&mut record, "a", Some("b")), both("a", Some("b")));
        record.promote().expect("promoted");
        assert_eq!(load(&mut record, "a", Some("b")), both("b", None));
        assert_eq!(record.serves(), Serves::Promoted);
        assert!(record.promote().expect_err("already").0.contains("already"));
        assert_eq!(load(&mut record, "b", None), both("b", None), "the file caught up");
        assert_eq!(record.serves(), Serves::File);
        assert_eq!(load(&mut record, "c", None), both("c", None), "a changed file always wins");
    }

    #[test]
    fn a_rollback_ends_the_trial_first_and_then_goes_back_in_time() {
        let mut record = Record::default();
        load(&mut record, "a", None);
        load(&mut record, "b", Some("c"));
        let (gone, serves) = record.roll_back(Which::Newest, Why::Operator, "no", NOW).expect("the trial");
        assert_eq!((gone.module.as_str(), serves.module.as_str()), ("c", "b"));
        assert_eq!(load(&mut record, "b", Some("c")), both("b", None), "it stays out");
        record.roll_back(Which::Newest, Why::ErrorBudget, "no", NOW).expect("to a, whose file is gone");
        assert_eq!(load(&mut record, "b", Some("c")), both("a", None));
        assert_eq!(record.serves(), Serves::RolledBack);
        assert!(record.roll_back(Which::Newest, Why::Operator, "no", NOW).is_err(), "nothing before a");
        assert_eq!(load(&mut record, "d", Some("c")), both("d", None), "a new file serves, c stays out");
        assert_eq!(load(&mut record, "b", None), both("b", None), "written again, b is wanted");
        load(&mut record, "b", Some("c"));
        record.resume().expect("c was held back");
        assert_eq!(load(&mut record, "b", Some("c")), both("b", Some("c")));
        assert!(record.resume().is_err());
    }

    #[test]
    fn a_promotion_can_be_taken_back() {
        let mut record = Record::default();
        load(&mut record, "a", Some("b"));
        record.promote().expect("promoted");
        load(&mut record, "a", Some("b"));
        record.roll_back(Which::Newest, Why::Operator, "worse", NOW).expect("back");
        assert_eq!(load(&mut record, "a", Some("b")), both("a", None));
        assert_eq!(record.serves(), Serves::File);
    }

    #[test]
    fn the_history_is_bounded_and_keeps_what_serves() {
        let mut record = Record::default();
        for n in 0..20 {
            load(&mut record, &n.to_string(), None);
        }
        assert_eq!(record.digests().count(), MAX_HISTORY);
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("its own text"), record);
    }
}
