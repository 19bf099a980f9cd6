//! `policies/<tier>.toml`: which module answers for which world, with which settings and limits. Plain data; an unknown key is
//! an error that names file, line and key.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use orbit_engine::{Limits, World};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{BackupRules, ResourceRules, RolloutRules, SleepRules, TierRules};

/// Bytes of a tier's file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Authorizers that one tier may chain.
const MAX_AUTHORIZERS: usize = 8;

/// A tier's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierFile {
    /// Where a request goes.
    pub router: Binding,
    /// All must allow; the first one's user counts.
    pub authorizer: Vec<Binding>,
    /// Makes `app-config`.
    pub renderer: Binding,
    /// How its workspaces are rolled out.
    #[serde(default)]
    rollout: RolloutRules,
    /// When they sleep.
    #[serde(default)]
    sleep: SleepRules,
    /// When they are backed up.
    #[serde(default)]
    backup: BackupRules,
    /// What an instance may use.
    #[serde(default)]
    resources: ResourceRules,
}

/// One module in one role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Relative to the policies folder, and inside it.
    pub module: PathBuf,
    /// Given to the policy's `configure` as JSON.
    #[serde(default)]
    pub settings: toml::Table,
    /// What one call may use.
    #[serde(default)]
    limits: LimitSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitSettings {
    budget_ms: Option<u64>,
    memory_bytes: Option<usize>,
    table_elements: Option<usize>,
    result_bytes: Option<usize>,
}

// === impl TierFile ===

impl TierFile {
    /// Reads and checks a file; the error is for the operator.
    pub fn read(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("it can't be read: {error}"))?.len();
        if size > MAX_FILE_BYTES {
            return Err(format!("it is {size} bytes long, {MAX_FILE_BYTES} are allowed"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("it can't be read: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        match file.authorizer.len() {
            0 => Err("it has no [[authorizer]]: nobody would be let in, or everybody".to_owned()),
            n if n > MAX_AUTHORIZERS => Err(format!("it has {n} authorizers, {MAX_AUTHORIZERS} are allowed")),
            _ => Ok(file),
        }
    }

    /// What it says beside its policies.
    pub fn rules(&self) -> TierRules {
        TierRules {
            rollout: self.rollout.clone(),
            sleep: self.sleep.clone(),
            backup: self.backup.clone(),
            resources: self.resources.clone(),
        }
    }
}

// === impl Binding ===

impl Binding {
    /// Where the module is. It must lie in `folder`, symbolic links followed.
    pub fn module_path(&self, folder: &Path) -> Result<PathBuf, String> {
        let named = self.module.display();
        if !self.module.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(format!("module {named} must be a path inside the policies folder"));
        }
        let path = folder.join(&self.module);
        let real = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("module {named} does not exist; build the policies (`cargo xtask guests`) or correct the path")
            }
            _ => format!("module {named} can't be read: {error}"),
        })?;
        let root = folder.canonicalize().map_err(|error| format!("the policies folder can't be read: {error}"))?;
        if real.starts_with(root) { Ok(path) } else { Err(format!("module {named} leads out of the policies folder")) }
    }

    /// The settings as JSON text, which is also what tells two versions of them apart.
    pub fn settings_json(&self) -> Result<String, String> {
        let mut settings = Map::new();
        for (key, value) in &self.settings {
            settings.insert(key.clone(), json(value, key)?);
        }
        Ok(Value::Object(settings).to_string())
    }

    /// The limits, with what the world has where the binding says nothing.
    pub fn limits(&self, world: World) -> Result<Limits, String> {
        let (set, usual) = (&self.limits, Limits::of(world));
        let limits = Limits {
            budget: set.budget_ms.map_or(usual.budget, Duration::from_millis),
            memory_bytes: set.memory_bytes.unwrap_or(usual.memory_bytes),
            table_elements: set.table_elements.unwrap_or(usual.table_elements),
            result_bytes: set.result_bytes.unwrap_or(usual.result_bytes),
        };
        for (key, value, least, most) in [
            ("budget_ms", limits.budget.as_millis() as usize, 10, 5_000),
            ("memory_bytes", limits.memory_bytes, 64 << 10, 64 << 20),
            ("table_elements", limits.table_elements, 1, 20_000),
            ("result_bytes", limits.result_bytes, 1 << 10, 16 << 20),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("limits.{key} is {value}: it must be {least} to {most}"));
            }
        }
        Ok(limits)
    }
}

fn json(value: &toml::Value, at: &str) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(_) => {
            return Err(format!("settings.{at} is a date, which JSON has not: write it as text"));
        }
        toml::Value::Array(items) => {
            Value::Array(items.iter().map(|item| json(item, at)).collect::<Result<_, String>>()?)
        }
        toml::Value::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.clone(), json(value, &format!("{at}.{key}"))?);
            }
            Value::Object(object)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[router]\nmodule = \"modules/r.wasm\"\n[[authorizer]]\nmodule = \"a.wasm\"\n[renderer]\nmodule = \"c.wasm\"\n";

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = TierFile::parse(&format!("{GOOD}setings = 1\n")).expect_err("unknown key");
        assert!(error.contains("line 7") && error.contains("setings"), "{error}");
        assert!(TierFile::parse(&GOOD.replace("[[authorizer]]", "[[authoriser]]")).is_err());
        assert!(TierFile::parse(&GOOD[..GOOD.len() / 2]).is_err(), "half a file");
    }

    #[test]
    fn a_module_stays_inside_the_folder() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("policies");
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(dir.path().join("out.wasm"), "").expect("written");
        std::os::unix::fs::symlink(dir.path().join("out.wasm"), folder.join("link.wasm")).expect("linked");
        std::fs::write(folder.join("in.wasm"), "").expect("written");
        let at = |module: &str| {
            Binding { module: module.into(), settings: toml::Table::new(), limits: LimitSettings::default() }
                .module_path(&folder)
        };
        assert!(at("in.wasm").is_ok());
        for out in ["../out.wasm", "link.wasm", "/etc/passwd", "missing.wasm"] {
            assert!(at(out).expect_err("refused").contains(out), "{out}");
        }
    }

    #[test]
    fn settings_become_json_and_limits_have_bounds() {
        let text = GOOD.replace(
            "[renderer]",
            "[authorizer.settings]\na = [1, true]\nb.c = \"x\"\n[authorizer.limits]\nbudget_ms = 0\n[renderer]",
        );
        let file = TierFile::parse(&text).expect("parsed");
        assert_eq!(file.authorizer[0].settings_json().expect("JSON"), r#"{"a":[1,true],"b":{"c":"x"}}"#);
        assert!(file.authorizer[0].limits(World::Authorizer).expect_err("too small").contains("budget_ms"));
        assert_eq!(file.router.limits(World::Router).expect("defaults").budget, Duration::from_millis(20));
    }
}
