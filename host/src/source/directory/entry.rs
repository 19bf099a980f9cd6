//! One workspace's folder → its spec, or why not. What has not changed since the last list is not read again.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Deserialize;

use super::{
    Rejected,
    files::{Folder, Found, Print},
};
use crate::{
    ids::{PluginId, Slug, TierName},
    model::{DesiredState, MAX_CATALOG_BYTES, SecretRef, Spec},
    source::app_config::{check_app_config, is_secret_name, json_from_toml},
    words,
};

const CONFIG_FILE: &str = "workspace.toml";
const MAX_CONFIG_BYTES: u64 = 256 << 10;
const CATALOG: &str = "catalog";
const MAX_CATALOG_FILE_BYTES: u64 = 1 << 20;
const MAX_CATALOG_FILES: usize = 500;
/// Names in `catalog/`, of whatever kind.
const MAX_CATALOG_ENTRIES: usize = 5_000;
const MAX_PLUGINS: usize = 200;
const MAX_SECRETS: usize = 200;
/// Characters of a parser's message.
const MAX_MESSAGE: usize = 500;

/// What is known of a workspace's folder.
pub(super) struct Known {
    /// The outcome.
    pub(super) spec: Result<Spec, Rejected>,
    /// Of every file that took part, by name; `None` if they could not even be looked at.
    prints: Option<BTreeMap<String, Print>>,
    /// All of them were old enough to trust their prints.
    settled: bool,
}

/// `workspace.toml` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    tier: TierName,
    #[serde(default)]
    desired: DesiredState,
    plugins: Option<Vec<PluginId>>,
    #[serde(default)]
    app_config: toml::Table,
    #[serde(default)]
    secrets: BTreeMap<String, SecretRef>,
}

/// The files of one workspace before they are read.
struct Files {
    folder: Folder,
    config: Found,
    catalog: Option<(Folder, Vec<Found>)>,
}

// === impl Known ===

impl Known {
    /// Catalogue bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.spec.as_ref().map_or(0, |spec| spec.catalog.values().map(String::len).sum())
    }
    /// Whether the next list may compare against this.
    pub(super) fn is_cacheable(&self) -> bool {
        self.settled && self.prints.is_some()
    }
}

/// Reads the workspace's folder `found` in `root`, or returns `previous` if no file of it has changed.
pub(super) fn read(root: &Folder, slug: &Slug, found: &Found, previous: Option<Known>) -> Known {
    let files = match Files::find(root, found) {
        Ok(files) => files,
        Err(rejected) => return Known { spec: Err(rejected), prints: None, settled: false },
    };
    let prints = files.prints();
    if let Some(previous) = previous.filter(|known| known.prints.as_ref() == Some(&prints)) {
        return previous;
    }
    let now = SystemTime::now();
    let settled = prints.values().all(|print| print.is_old(now));
    let spec = files.read();
    if let Err(rejected) = &spec {
        tracing::debug!(workspace = %slug, reason = %rejected, "config rejected");
    }
    Known { spec, prints: Some(prints), settled }
}

// === impl Files ===

impl Files {
    fn find(root: &Folder, found: &Found) -> Result<Self, Rejected> {
        let folder = root.open(found)?;
        let name = folder.name().to_owned();
        let config = folder.find(CONFIG_FILE)?.ok_or_else(|| {
            Rejected(format!("{name} holds no {CONFIG_FILE}; write one with at least `tier = \"…\"`"))
        })?;
        let catalog = match folder.find(CATALOG)? {
            None => None,
            Some(found) => {
                let catalog = folder.open(&found)?;
                let mut files = Vec::new();
                for entry in catalog.entries(MAX_CATALOG_ENTRIES)? {
                    let entry = entry?;
                    if entry.name.ends_with(".yaml") || entry.name.ends_with(".yml") {
                        files.push(entry);
                    } else if entry.kind.is_dir() {
                        return Err(Rejected(format!(
                            "{}/{} is a folder; put catalogue files directly into {CATALOG}/",
                            catalog.name(),
                            entry.name
                        )));
                    }
                }
                if files.len() > MAX_CATALOG_FILES {
                    return Err(Rejected(format!(
                        "{} holds {} catalogue files, more than {MAX_CATALOG_FILES}; join some",
                        catalog.name(),
                        files.len()
                    )));
                }
                Some((catalog, files))
            }
        };
        Ok(Self { folder, config, catalog })
    }

    fn prints(&self) -> BTreeMap<String, Print> {
        let catalog = self.catalog.iter().flat_map(|(_, files)| files);
        catalog
            .map(|found| (format!("{CATALOG}/{}", found.name), found.print.clone()))
            .chain([(CONFIG_FILE.to_owned(), self.config.print.clone())])
            .collect()
    }

    fn read(&self) -> Result<Spec, Rejected> {
        let text = self.folder.read_text(&self.config, MAX_CONFIG_BYTES)?;
        let name = format!("{}/{CONFIG_FILE}", self.folder.name());
        let mut spec = parse(&name, &text)?;
        let Some((folder, files)) = &self.catalog else { return Ok(spec) };
        // By size first: an oversized catalogue is refused before it is in memory.
        let claimed: u64 = files.iter().map(|found| found.print.size).sum();
        let mut total = 0;
        for found in files {
            let text = folder.read_text(found, MAX_CATALOG_FILE_BYTES)?;
            total += text.len();
            if total > MAX_CATALOG_BYTES || claimed > MAX_CATALOG_BYTES as u64 {
                let limit = MAX_CATALOG_BYTES >> 20;
                return Err(Rejected(format!("{} is larger than {limit} MiB in all; make it smaller", folder.name())));
            }
            let place = || format!("{}/{}", folder.name(), found.name);
            if text.trim().is_empty() {
                return Err(Rejected(format!("{} is empty; fill it or remove it", place())));
            }
            if text.contains('\0') {
                return Err(Rejected(format!("{} holds a NUL byte, so it is no YAML", place())));
            }
            spec.catalog.insert(found.name.clone(), text);
        }
        Ok(spec)
    }
}

fn parse(name: &str, text: &str) -> Result<Spec, Rejected> {
    if text.trim().is_empty() {
        // Also what a half-saved file looks like.
        return Err(Rejected(format!("{name} is empty; it needs at least `tier = \"…\"`")));
    }
    let config: Config = toml::from_str(text).map_err(|error| {
        let message: String = words::plain(error.message()).replace('\n', " ").chars().take(MAX_MESSAGE).collect();
        match error.span() {
            // What is missing has no place: the parser would point at the file's start.
            Some(span) if !message.starts_with("missing field") => {
                let before = text.get(..span.start).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
                Rejected(format!("{name}, line {line}, column {column}: {message}"))
            }
            _ => Rejected(format!("{name}: {message}")),
        }
    })?;
    let refused = |reason: String| Rejected(format!("{name}: {reason}"));
    if config.plugins.as_ref().is_some_and(|plugins| plugins.len() > MAX_PLUGINS) {
        return Err(refused(format!("`plugins` names more than {MAX_PLUGINS}")));
    }
    if config.secrets.len() > MAX_SECRETS {
        return Err(refused(format!("[secrets] names more than {MAX_SECRETS}")));
    }
    for (secret, SecretRef::File(file)) in &config.secrets {
        if !is_secret_name(secret) {
            let reason = "must start with A-Z and hold at most 64 of A-Z, 0-9 and '_'";
            return Err(refused(format!("the secret name {secret:.64?} {reason}")));
        }
        if file.is_empty() || file.len() > 255 || file.starts_with('.') || file.contains(['/', '\0']) {
            let reason = "must be a file's name: no slash, no dot in front, at most 255 bytes";
            return Err(refused(format!("secrets.{secret}.file {reason}")));
        }
    }
    let app_config = json_from_toml(config.app_config).map_err(refused)?;
    for secret in check_app_config(&app_config).map_err(refused)? {
        if !config.secrets.contains_key(secret) {
            return Err(refused(format!(
                "app_config refers to the secret {secret}, which [secrets] does not name; add `{secret} = {{ file = \"…\" }}`"
            )));
        }
    }
    Ok(Spec {
        tier: config.tier,
        desired: config.desired,
        plugins: config.plugins,
        app_config,
        secrets: config.secrets,
        catalog: BTreeMap::new(),
        restarts: 0,
        password_rotations: 0,
        restore: None,
        pinned: None,
    })
}
