//! `policies/<tier>.toml`: which module answers for which world, with which settings and limits. Plain data; an unknown key is
//! an error that names file, line and key.

mod class;
mod json;
mod limits;
mod next;
mod paths;
#[cfg(test)]
mod tests;
mod tier;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    remote::{OciReference, ReferenceError},
    rollout::Budget,
};
use paths::inside;

pub use class::Class;
pub use json::json_of;
pub use limits::LimitSettings;
pub use next::Next;
pub use tier::TierFile;

/// One module in one role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Relative to the policies folder, and inside it; or `oci://…`, see [`Binding::reference`].
    pub module: PathBuf,
    /// Given to the policy's `configure` as JSON.
    #[serde(default)]
    pub settings: toml::Table,
    /// What the module may look like, and compiling it may cost.
    #[serde(default)]
    pub class: Class,
    /// Settings whose text is in a file of its own, inside the policies folder.
    #[serde(default)]
    pub settings_files: BTreeMap<String, PathBuf>,
    /// What one call may use.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Its signature, a file inside the policies folder; without it `<module>.sig`, or what the registry has.
    #[serde(default)]
    pub signature: Option<PathBuf>,
    /// Its signature must be over the settings, too.
    #[serde(default)]
    pub signed_settings: bool,
    /// Whether an answer is remembered for the same inputs.
    #[serde(default = "yes")]
    pub memory: bool,
    /// What a new version may fail.
    #[serde(default)]
    pub budget: Budget,
    /// A version that is rolled out beside it.
    #[serde(default)]
    pub next: Option<Next>,
    /// Cases that must pass before it serves; a file inside the policies folder.
    #[serde(default)]
    pub tests: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

// === impl Binding ===

impl Binding {
    /// Where the module is. It must lie in `folder`, symbolic links followed.
    pub fn module_path(&self, folder: &Path) -> Result<PathBuf, String> {
        let advice =
            "build the policies (`cargo xtask guests`, or `orbitd policy build` for your own) or correct the path";
        inside(folder, "module", &self.module, advice)
    }

    /// Where its test cases are, if it names any; also inside `folder`.
    pub fn tests_path(&self, folder: &Path) -> Result<Option<PathBuf>, String> {
        let tests = self.tests.as_ref();
        tests
            .map(|tests| inside(folder, "tests", tests, "copy the cases beside the module or correct the path"))
            .transpose()
    }

    /// Where its own signature is, if it names one; also inside `folder`.
    pub fn signature_path(&self, folder: &Path) -> Result<Option<PathBuf>, String> {
        let advice = "make it with `orbitd policy sign --out` or correct the path";
        self.signature.as_ref().map(|file| inside(folder, "signature", file, advice)).transpose()
    }

    /// Where the module is in a registry, if that is where it is.
    pub fn reference(&self) -> Result<Option<OciReference>, String> {
        let text = self.module.to_str().filter(|text| text.starts_with(OciReference::SCHEME));
        text.map(str::parse).transpose().map_err(|error: ReferenceError| error.to_string())
    }

    /// Where the texts of `settings_files` are, by setting.
    pub fn settings_paths(&self, folder: &Path) -> Result<Vec<(&str, PathBuf)>, String> {
        let path = |(key, file): (&'_ String, &PathBuf)| {
            if self.settings.contains_key(key) {
                return Err(format!("settings.{key} and settings_files.{key} are both there: keep one"));
            }
            inside(folder, &format!("settings_files.{key}"), file, "make the file or correct the path")
        };
        self.settings_files.iter().map(|(key, file)| Ok((key.as_str(), path((key, file))?))).collect()
    }

    /// The settings as JSON text, which is also what tells two versions of them apart; `texts` is what `settings_files` name.
    pub fn settings_json(&self, texts: Vec<(&str, String)>) -> Result<String, String> {
        let mut settings = Map::new();
        for (key, text) in texts {
            settings.insert(key.to_owned(), Value::from(text));
        }
        for (key, value) in &self.settings {
            settings.insert(key.clone(), json_of(value, &format!("settings.{key}"))?);
        }
        Ok(Value::Object(settings).to_string())
    }
}
