//! The format of a case file, and a case with everything that the file's top fills in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Case;
use crate::{
    ids::{Digest, PluginId, Slug, TierName},
    policy::{binding::json_of, given::GivenHeaders},
    words,
};

/// Cases of one file; past it the file is refused.
pub const MAX_CASES: usize = 1_000;
/// Bytes of a file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Bytes of a text of `settings_files`; as for a binding.
const MAX_TEXT_BYTES: u64 = 512 << 10;
const EXPECTATIONS: &str = "forward, refuse, allow, deny, render, fail or refuse_settings";

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The module that they are about, relative to the file. The loader and a project know it without.
    #[serde(default)]
    pub module: Option<PathBuf>,
    /// Of every case that has none of its own. Without: the binding's, or what `policy test --settings` names.
    #[serde(default)]
    settings: Option<toml::Table>,
    /// Texts that become settings, as a binding names them: what the author tries out. A daemon has the binding's instead.
    #[serde(default)]
    settings_files: BTreeMap<String, PathBuf>,
    /// These and `settings` together, as JSON text, once they were read.
    #[serde(skip)]
    with_texts: Option<String>,
    #[serde(default)]
    request: RequestPart,
    #[serde(default)]
    claims: Option<toml::Table>,
    #[serde(default)]
    config: ConfigPart,
    #[serde(default, rename = "case")]
    cases: Vec<CasePart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CasePart {
    name: String,
    #[serde(default)]
    settings: Option<toml::Table>,
    #[serde(default)]
    request: RequestPart,
    #[serde(default)]
    claims: Option<toml::Table>,
    #[serde(default)]
    config: ConfigPart,
    expect: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequestPart {
    workspace: Option<Slug>,
    tier: Option<TierName>,
    method: Option<String>,
    path: Option<String>,
    plugin: Option<String>,
    headers: GivenHeaders,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigPart {
    public_url: Option<String>,
    app_config: Option<toml::Table>,
    plugins: Option<Vec<PluginId>>,
}

// === impl CaseFile ===

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Which file, where in it, and what is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::read_with_digest(path).map(|(file, _)| file)
    }

    /// The same, with the digest of its text.
    ///
    /// # Errors
    /// As [`CaseFile::read`].
    pub fn read_with_digest(path: &Path) -> Result<(Self, Digest), String> {
        let named = |error: String| format!("{}: {error}", path.display());
        let length = std::fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
        if length > MAX_FILE_BYTES {
            return Err(named(format!("it is {length} bytes long, {MAX_FILE_BYTES} are allowed")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        Ok((Self::parse(&text).map_err(named)?, Digest::of(text.as_bytes())))
    }

    /// Reads the texts of `settings_files`, relative to `folder`, for a run without a binding.
    ///
    /// # Errors
    /// One can't be read, is too long, or stands among the settings, too.
    pub fn read_texts(&mut self, folder: &Path) -> Result<(), String> {
        if self.settings_files.is_empty() {
            return Ok(());
        }
        let mut settings = self.settings.clone().map_or(Ok(Map::new()), |table| object(&table, "settings"))?;
        for (key, file) in &self.settings_files {
            let path = folder.join(file);
            let no = |reason: String| format!("settings_files.{key}: {} {reason}", path.display());
            let length = std::fs::metadata(&path).map_err(|error| no(format!("can't be read: {error}")))?.len();
            if length > MAX_TEXT_BYTES {
                return Err(no(format!("is {length} bytes long, {MAX_TEXT_BYTES} are allowed")));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| no(format!("can't be read: {error}")))?;
            if settings.insert(key.clone(), text.into()).is_some() {
                return Err(no("is also in settings: keep one".into()));
            }
        }
        self.with_texts = Some(Value::Object(settings).to_string());
        Ok(())
    }

    /// From text.
    ///
    /// # Errors
    /// Where in it, and what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| words::plain(error.to_string().trim_end()))?;
        match file.cases.len() {
            0 => return Err("it has no [[case]]".into()),
            n if n > MAX_CASES => return Err(format!("it has {n} cases, {MAX_CASES} are allowed")),
            _ => {}
        }
        // A mistake in a later case is said now, not after half of them ran.
        file.cases().map(|_| file)
    }

    /// The cases, filled in.
    ///
    /// # Errors
    /// None, once the file was read: its mistakes are found then.
    pub fn cases(&self) -> Result<Vec<Case>, String> {
        let mut names = std::collections::BTreeSet::new();
        self.cases
            .iter()
            .map(|case| {
                if case.name.trim().is_empty() || !names.insert(&case.name) {
                    return Err(format!("case {:?}: a name must stand once and not be empty", case.name));
                }
                self.fill(case).map_err(|error| format!("case {:?}: {error}", case.name))
            })
            .collect()
    }

    fn fill(&self, case: &CasePart) -> Result<Case, String> {
        let [expectation] = &case.expect.keys().collect::<Vec<_>>()[..] else {
            return Err(format!("expect must have exactly one of {EXPECTATIONS}"));
        };
        if !EXPECTATIONS.replace(" or ", ", ").split(", ").any(|known| known == expectation.as_str()) {
            return Err(format!("expect.{expectation}: there are {EXPECTATIONS}"));
        }
        let (own, top) = (&case.request, &self.request);
        let path = own.path.as_ref().or(top.path.as_ref()).map_or("/", String::as_str);
        if !path.starts_with('/') {
            return Err(format!("request.path is {path:?}: it must start with '/'"));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let plugin = own.plugin.as_ref().or(top.plugin.as_ref()).filter(|plugin| !plugin.is_empty());
        let text = |table| object(table, "settings").map(|map| Value::Object(map).to_string());
        let settings = match (&case.settings, &self.settings) {
            (Some(own), _) => Some(text(own)?),
            // Whole or not at all: without its texts the rest of the settings makes no sense.
            (None, _) if !self.settings_files.is_empty() => self.with_texts.clone(),
            (None, top) => top.as_ref().map(text).transpose()?,
        };
        let config = |own: &Option<toml::Table>, top: &Option<toml::Table>, at| {
            own.as_ref().or(top.as_ref()).map_or(Ok(Map::new()), |table| object(table, at))
        };
        // Claim by claim: a case usually changes one.
        let mut claims = config(&self.claims, &None, "claims")?;
        claims.extend(config(&case.claims, &None, "claims")?);
        let public_url = case.config.public_url.as_ref().or(self.config.public_url.as_ref());
        Ok(Case {
            name: case.name.clone(),
            settings,
            workspace: own.workspace.clone().or_else(|| top.workspace.clone()).map_or_else(default_workspace, Ok)?,
            tier: own.tier.clone().or_else(|| top.tier.clone()),
            method: own.method.clone().or_else(|| top.method.clone()).unwrap_or_else(|| "GET".into()),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: top.headers.under(&own.headers).to_map().map_err(|error| format!("request.{error}"))?,
            plugin: plugin
                .map(|plugin| plugin.parse())
                .transpose()
                .map_err(|error: crate::ids::InvalidId| error.to_string())?,
            claims,
            public_url: public_url.cloned().unwrap_or_else(|| "http://acme.localhost:7080".into()),
            app_config: config(&case.config.app_config, &self.config.app_config, "config.app_config")?,
            plugins: case.config.plugins.clone().or_else(|| self.config.plugins.clone()),
            expect: Value::Object(object(&case.expect, "expect")?),
        })
    }
}

fn default_workspace() -> Result<Slug, String> {
    "acme".parse().map_err(|error: crate::ids::InvalidId| error.to_string())
}

fn object(table: &toml::Table, at: &str) -> Result<Map<String, Value>, String> {
    table.iter().map(|(key, value)| Ok((key.clone(), json_of(value, &format!("{at}.{key}"))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        CaseFile::parse(text).expect_err("refused")
    }

    #[test]
    fn what_a_case_leaves_out_comes_from_the_top() {
        let file = CaseFile::parse(
            "[settings]\na = 1\n[request]\nworkspace = \"globex\"\nheaders = { X-A = \"1\" }\n[claims]\nsub = \"alice\"\n\
             [[case]]\nname = \"one\"\nrequest.path = \"/api/x?q=1\"\nrequest.headers = { x-b = [\"1\", \"2\"] }\n\
             claims.groups = [\"g\"]\nexpect.allow = {}\n\
             [[case]]\nname = \"two\"\nsettings = {}\nrequest.headers = { x-a = \"2\" }\nexpect.fail = { kind = \"error\" }\n",
        );
        let cases = file.expect("a file").cases().expect("cases");
        let one = &cases[0];
        assert_eq!((one.workspace.as_str(), one.path.as_str(), one.query.as_str()), ("globex", "/api/x", "q=1"));
        assert_eq!((one.settings.as_deref(), one.headers.len()), (Some(r#"{"a":1}"#), 3));
        assert_eq!(one.claims, serde_json::from_str(r#"{"sub":"alice","groups":["g"]}"#).expect("JSON"));
        assert_eq!(
            (cases[1].settings.as_deref(), &cases[1].headers["x-a"]),
            (Some("{}"), &http::HeaderValue::from_static("2"))
        );
    }

    #[test]
    fn texts_stand_in_for_a_bindings_only_where_there_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.rego"), "package a").expect("written");
        let text =
            "settings_files = { policy = \"a.rego\" }\n[settings]\nx = 1\n[[case]]\nname = \"a\"\nexpect.allow = {}\n";
        let mut file = CaseFile::parse(text).expect("a file");
        assert_eq!(file.cases().expect("cases")[0].settings, None, "a daemon has the binding's");
        file.read_texts(dir.path()).expect("read");
        assert_eq!(file.cases().expect("cases")[0].settings.as_deref(), Some(r#"{"x":1,"policy":"package a"}"#));
        let mut file = CaseFile::parse(&text.replace("x = 1", "policy = \"\"")).expect("a file");
        assert!(file.read_texts(dir.path()).expect_err("twice").contains("keep one"));
        std::fs::remove_file(dir.path().join("a.rego")).expect("removed");
        assert!(file.read_texts(dir.path()).expect_err("gone").contains("a.rego"));
    }

    #[test]
    fn a_mistake_names_the_case() {
        assert!(error("").contains("no [[case]]"));
        assert!(error("[[case]]\nname = \"x\"\nexpct = 1\n").contains("expct"));
        let case = |rest: &str| error(&format!("[[case]]\nname = \"x\"\n{rest}\n"));
        assert!(case("request = 7").contains("expected a table"));
        assert!(case("expect = {}").contains("case \"x\": expect must have exactly one of forward"));
        assert!(case("expect = { allow = {}, deny = {} }").contains("exactly one"));
        assert!(case("expect.alow = {}").contains("expect.alow: there are"));
        assert!(case("expect.allow = {}\nrequest.path = \"x\"").contains("must start with '/'"));
        assert!(case("expect.allow = {}\nrequest.headers = { \"a b\" = \"\" }").contains("no header name"));
        assert!(case("expect.allow = {}\nrequest.plugin = \"A\"").contains("plugin id"));
        assert!(case("expect.allow = {}\n[[case]]\nname = \"x\"\nexpect.allow = {}").contains("stand once"));
    }
}
