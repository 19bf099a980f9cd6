//! `policies/<tier>.toml`: which module answers for which world, with which settings and limits. Plain data; an unknown key is
//! an error that names file, line and key.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use orbit_engine::{Limits, ShapeLimits, World, shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    remote::OciReference,
    rollout::{Audience, Budget, Mode},
    schema,
    trust::Trust,
};
use crate::{
    ids::Slug,
    model::{BackupRules, ResourceRules, RolloutRules, Share, SleepRules, TierRules},
};

/// Bytes of a tier's file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Authorizers that one tier may chain.
const MAX_AUTHORIZERS: usize = 8;
/// Workspaces that a canary may name one by one.
const MAX_WORKSPACES: usize = 1_000;

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
    /// Who may sign its policies; none: nobody has to.
    #[serde(default)]
    pub trust: Option<Trust>,
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
    /// As it was read, for naming lines.
    #[serde(skip)]
    text: String,
}

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

/// What kind of module it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Code of its own: Rust, Rego, Cedar.
    #[default]
    Policy,
    /// It carries an interpreter: JavaScript, Python.
    Language,
}

impl Class {
    /// For the engine.
    pub fn shape(self) -> &'static ShapeLimits {
        match self {
            Self::Policy => &ShapeLimits::POLICY,
            Self::Language => &ShapeLimits::LANGUAGE,
        }
    }

    /// The class that a module needs: what carries an interpreter is told by its size.
    pub fn fitting(module: &[u8]) -> Self {
        if shape::carries_an_interpreter(module) { Self::Language } else { Self::Policy }
    }

    /// What a call may use where the binding says nothing.
    pub fn default_limits(self, world: World) -> Limits {
        let defaults = Limits::of(world);
        match self {
            Self::Policy => defaults,
            // Measured: a fresh interpreter needs 1 to 20 ms for a decision and 10 to 20 MiB.
            Self::Language => Limits { budget: Duration::from_millis(500), memory_bytes: 64 << 20, ..defaults },
        }
    }
}

/// `[<binding>.next]`: a version that is rolled out. What it leaves out is as in the binding.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    module: Option<PathBuf>,
    settings: Option<toml::Table>,
    settings_files: Option<BTreeMap<String, PathBuf>>,
    signature: Option<PathBuf>,
    class: Option<Class>,
    limits: Option<LimitSettings>,
    tests: Option<PathBuf>,
    /// `shadow` or `canary`.
    pub mode: Mode,
    /// Of the tier's workspaces; a shadow without it sees all.
    share: Option<Share>,
    /// Workspaces that are in whatever the share is.
    #[serde(default)]
    workspaces: Vec<Slug>,
}

/// What a binding says of limits; what it leaves out has the world's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// CPU milliseconds of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_ms: Option<u64>,
    /// Linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    /// Entries of each table.
    #[serde(skip_serializing_if = "Option::is_none")]
    table_elements: Option<usize>,
    /// Everything in one answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<usize>,
}

fn yes() -> bool {
    true
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
        if let Some(trust) = &file.trust {
            trust.validate()?;
        }
        match file.authorizer.len() {
            0 => Err("it has no [[authorizer]]: nobody would be let in, or everybody".to_owned()),
            n if n > MAX_AUTHORIZERS => Err(format!("it has {n} authorizers, {MAX_AUTHORIZERS} are allowed")),
            _ => Ok(Self { text: text.to_owned(), ..file }),
        }
    }

    /// The line of a key, from 1.
    pub fn line_of(&self, path: &[String]) -> Option<usize> {
        schema::line_of(&self.text, path)
    }

    /// What it says beside its policies.
    pub fn rules(&self) -> TierRules {
        TierRules {
            rollout: self.rollout.clone(),
            sleep: self.sleep.clone(),
            backup: self.backup.clone(),
            resources: self.resources,
        }
    }
}

impl TierFile {
    /// A binding by its name: `router`, `authorizer`, `authorizer-2`, `renderer`.
    pub fn binding(&self, name: &str) -> Option<(World, &Binding)> {
        match name {
            "router" => Some((World::Router, &self.router)),
            "renderer" => Some((World::Renderer, &self.renderer)),
            "authorizer" => self.authorizer.first().map(|binding| (World::Authorizer, binding)),
            _ => {
                let number: usize = name.strip_prefix("authorizer-")?.parse().ok()?;
                self.authorizer.get(number.checked_sub(1)?).map(|binding| (World::Authorizer, binding))
            }
        }
    }
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
        text.map(str::parse).transpose().map_err(|error: super::remote::ReferenceError| error.to_string())
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

    /// Where its next version's settings stand: with it, or with the active one.
    pub fn next_has_settings(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.settings.is_some())
    }

    /// The version that is rolled out, as a binding of its own.
    pub fn next_binding(&self) -> Option<Self> {
        let next = self.next.as_ref()?;
        Some(Self {
            module: next.module.clone().unwrap_or_else(|| self.module.clone()),
            settings: next.settings.clone().unwrap_or_else(|| self.settings.clone()),
            settings_files: next.settings_files.clone().unwrap_or_else(|| self.settings_files.clone()),
            // Another module has another.
            signature: next.signature.clone().or_else(|| self.signature.clone().filter(|_| next.module.is_none())),
            signed_settings: self.signed_settings,
            class: next.class.unwrap_or(self.class),
            limits: next.limits.clone().unwrap_or_else(|| self.limits.clone()),
            memory: self.memory,
            budget: self.budget.clone(),
            tests: next.tests.clone().or_else(|| self.tests.clone()),
            next: None,
        })
    }
}

// === impl Next ===

impl Next {
    /// Which workspaces meet it.
    pub fn audience(&self) -> Result<Audience, String> {
        if self.workspaces.len() > MAX_WORKSPACES {
            return Err(format!("next.workspaces names {}, {MAX_WORKSPACES} are allowed", self.workspaces.len()));
        }
        let share = match (self.share, self.mode) {
            (Some(share), _) => share,
            (None, _) if !self.workspaces.is_empty() => Share::NONE,
            (None, Mode::Shadow) => Share::ALL,
            (None, Mode::Canary) => {
                return Err(
                    "next is a canary and says of what: add share = \"10%\", or workspaces = [\"acme\"]".to_owned()
                );
            }
        };
        let mut workspaces = self.workspaces.clone();
        workspaces.sort();
        Ok(Audience { share, workspaces })
    }
}

// === impl LimitSettings ===

impl LimitSettings {
    /// The limits, with what class and world have where nothing is said.
    pub fn limits(&self, class: Class, world: World) -> Result<Limits, String> {
        let defaults = class.default_limits(world);
        let limits = Limits {
            budget: self.budget_ms.map_or(defaults.budget, Duration::from_millis),
            memory_bytes: self.memory_bytes.unwrap_or(defaults.memory_bytes),
            table_elements: self.table_elements.unwrap_or(defaults.table_elements),
            result_bytes: self.result_bytes.unwrap_or(defaults.result_bytes),
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

/// A file that a binding names (as `key`): it must lie in the policies folder, symbolic links followed.
fn inside(folder: &Path, key: &str, file: &Path, advice: &str) -> Result<PathBuf, String> {
    let named = file.display();
    if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{key} {named} must be a path inside the policies folder"));
    }
    let path = folder.join(file);
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{key} {named} does not exist; {advice}"),
        _ => format!("{key} {named} can't be read: {error}"),
    })?;
    let root = folder.canonicalize().map_err(|error| format!("the policies folder can't be read: {error}"))?;
    if real.starts_with(root) { Ok(path) } else { Err(format!("{key} {named} leads out of the policies folder")) }
}

/// TOML as JSON; `at` is for the error. Dates are refused: JSON has none.
pub fn json_of(value: &toml::Value, at: &str) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(_) => {
            return Err(format!("{at} is a date, which JSON has not: write it as text"));
        }
        toml::Value::Array(items) => {
            Value::Array(items.iter().map(|item| json_of(item, at)).collect::<Result<_, String>>()?)
        }
        toml::Value::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.clone(), json_of(value, &format!("{at}.{key}"))?);
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
            let text = GOOD.replace("modules/r.wasm", module);
            TierFile::parse(&text).expect("parsed").router.module_path(&folder)
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
        assert_eq!(file.authorizer[0].settings_json(Vec::new()).expect("JSON"), r#"{"a":[1,true],"b":{"c":"x"}}"#);
        assert!(
            file.authorizer[0]
                .limits
                .limits(Class::Policy, World::Authorizer)
                .expect_err("too small")
                .contains("budget_ms")
        );
        assert_eq!(
            file.router.limits.limits(Class::Policy, World::Router).expect("defaults").budget,
            Duration::from_millis(20)
        );
    }

    #[test]
    fn a_next_version_inherits_what_it_leaves_out() {
        let next =
            "[router.settings]\na = 1\n[router.next]\nmode = \"canary\"\nshare = \"10%\"\nmodule = \"n.wasm\"\n[[auth";
        let file = TierFile::parse(&GOOD.replace("[[auth", next)).expect("parsed");
        let binding = file.router.next_binding().expect("there");
        assert_eq!(
            (binding.module.to_str(), binding.settings_json(Vec::new())),
            (Some("n.wasm"), Ok(r#"{"a":1}"#.to_owned()))
        );
        let rules = file.router.next.expect("there");
        assert_eq!((rules.mode, rules.audience().expect("one").share), (Mode::Canary, Share::percent(10)));
        let bare =
            TierFile::parse(&GOOD.replace("[[auth", "[router.next]\nmode = \"canary\"\n[[auth")).expect("parsed");
        assert!(bare.router.next.expect("there").audience().expect_err("of what?").contains("share"));
        for wrong in
            ["mode = \"active\"", "share = \"10%\"", "mode = \"canary\"\nshare = \"110%\"", "mode = \"shadow\"\nx = 1"]
        {
            assert!(
                TierFile::parse(&GOOD.replace("[[auth", &format!("[router.next]\n{wrong}\n[[auth"))).is_err(),
                "{wrong}"
            );
        }
    }
}
