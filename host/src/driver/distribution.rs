//! An installed distribution: a pinned Backstage that many instances share read-only. `app` opens it once at the start.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::ids::PluginId;

const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// What an installed distribution says of itself, checked.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// The install tree, absolute.
    pub root: PathBuf,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its digest: part of every revision.
    pub digest: String,
    /// The Node binary, absolute.
    pub node: PathBuf,
    /// The launcher script, absolute.
    pub launcher: PathBuf,
    /// Plugins it knows.
    pub plugins: BTreeSet<PluginId>,
    /// Its instances keep nothing, so any number may run at the same time.
    pub stateless: bool,
    /// Said once in the log: a Node version that works and is not the right one.
    pub warning: Option<String>,
}

/// Why a distribution can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// There is none.
    #[error("there is no installed distribution at {}: {source}; install one (`make distribution`) and set `distribution` to its folder", path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of it is wrong.
    #[error("{} is not right: {reason}; install the distribution again", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No Node.
    #[error("cannot run Node at {}: {reason}; set `instances.node` to a Node 22 binary", path.display())]
    Node {
        /// Which binary.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A Node that does not work.
    #[error("Node at {} is version {version}, which {why}: set `instances.node` to a Node 22 binary", path.display())]
    NodeVersion {
        /// Which binary.
        path: PathBuf,
        /// Its version.
        version: String,
        /// Why it does not do.
        why: &'static str,
    },
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    digest: String,
    node: PathBuf,
    launcher: PathBuf,
    plugins: PathBuf,
    #[serde(default)]
    stateless: bool,
}

impl Distribution {
    /// Reads and checks the tree at `root`, and runs `node --version` (5 s at most). `node` overrides the binary it names.
    pub async fn open(root: &Path, node: Option<&Path>) -> Result<Self, DistributionError> {
        let missing = |path: PathBuf| move |source| DistributionError::Missing { path, source };
        let root = root.canonicalize().map_err(missing(root.join("distribution.json")))?;
        let file = root.join("distribution.json");
        let manifest: Manifest = serde_json::from_value(read(&file)?).map_err(|e| malformed(&file, e.to_string()))?;
        let launcher = root.join(&manifest.launcher);
        if !launcher.is_file() {
            return Err(malformed(&file, format!("the launcher {} is not there", launcher.display())));
        }
        let plugins_file = root.join(&manifest.plugins);
        let plugins = known_plugins(&read(&plugins_file)?).map_err(|reason| malformed(&plugins_file, reason))?;
        let node = match node {
            Some(node) => node.to_owned(),
            // A bare name is looked up in PATH; a relative path is one inside the tree.
            None if manifest.node.components().count() == 1 && !root.join(&manifest.node).exists() => manifest.node,
            None => root.join(&manifest.node),
        };
        let node = absolute(&node)?;
        let warning = check_version(&node, &node_version(&node).await?)?;
        let Manifest { name, version, digest, stateless, .. } = manifest;
        Ok(Self { root, name, version, digest, node, launcher, plugins, stateless, warning })
    }
}

fn malformed(path: &Path, reason: String) -> DistributionError {
    DistributionError::Malformed { path: path.to_owned(), reason }
}

fn read(path: &Path) -> Result<Value, DistributionError> {
    let missing = |source| DistributionError::Missing { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(missing)?.len();
    if size > MAX_MANIFEST_BYTES {
        return Err(malformed(path, format!("it has {size} bytes, more than {MAX_MANIFEST_BYTES}")));
    }
    let text = std::fs::read(path).map_err(missing)?;
    serde_json::from_slice(&text).map_err(|error| malformed(path, error.to_string()))
}

/// `{"plugins": {"catalog": {…}}}`, or a list of ids, or of objects with an `id`.
fn known_plugins(value: &Value) -> Result<BTreeSet<PluginId>, String> {
    let value = value.get("plugins").unwrap_or(value);
    let names: Vec<&str> = match value {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::Array(list) => {
            list.iter().filter_map(|item| item.as_str().or_else(|| item.get("id")?.as_str())).collect()
        }
        _ => return Err("it lists no plugins".to_owned()),
    };
    if names.is_empty() {
        return Err("it lists no plugins".to_owned());
    }
    names.into_iter().map(|name| name.parse().map_err(|error: crate::ids::InvalidId| error.to_string())).collect()
}

fn absolute(node: &Path) -> Result<PathBuf, DistributionError> {
    let failed = |reason: &str| DistributionError::Node { path: node.to_owned(), reason: reason.to_owned() };
    if node.components().count() > 1 {
        return std::path::absolute(node).map_err(|error| failed(&error.to_string()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(node))
        .find(|candidate| candidate.is_file() && candidate.is_absolute())
        .ok_or_else(|| failed("there is no such program in PATH"))
}

async fn node_version(node: &Path) -> Result<String, DistributionError> {
    let failed = |reason: String| DistributionError::Node { path: node.to_owned(), reason };
    let run = tokio::process::Command::new(node)
        .arg("--version")
        .env_remove("NODE_OPTIONS")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(5), run)
        .await
        .map_err(|_| failed("`node --version` did not answer in 5 s".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("`node --version` ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().chars().take(40).collect())
}

/// What was tried with this distribution (facts: better-sqlite3 aborts on Node 24; three packages ask for 22 or newer).
fn check_version(node: &Path, version: &str) -> Result<Option<String>, DistributionError> {
    let major = version.strip_prefix('v').and_then(|v| v.split('.').next()).and_then(|v| v.parse::<u32>().ok());
    let refused = |why| Err(DistributionError::NodeVersion { path: node.to_owned(), version: version.to_owned(), why });
    match major {
        Some(22) => Ok(None),
        Some(20 | 21 | 23) => {
            Ok(Some(format!("Node {version} works with warnings; Node 22 is the one Backstage is tested with")))
        }
        Some(24..) => refused("aborts in better-sqlite3"),
        Some(_) => refused("is too old for Backstage"),
        None => refused("is not a version of Node"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_plugins_are_read_in_three_shapes() {
        let ids = |text: &str| known_plugins(&serde_json::from_str(text).expect("JSON"));
        let two: BTreeSet<PluginId> = ["app", "catalog"].map(|id| id.parse().expect("an id")).into();
        assert_eq!(ids(r#"{"plugins": {"catalog": {"always": true}, "app": {}}}"#), Ok(two.clone()));
        assert_eq!(ids(r#"["catalog", "app"]"#), Ok(two.clone()));
        assert_eq!(ids(r#"{"plugins": [{"id": "catalog"}, {"id": "app"}]}"#), Ok(two));
        assert!(ids("[]").is_err() && ids("3").is_err() && ids(r#"["No Id"]"#).is_err());
    }

    #[test]
    fn node_22_is_good_20_is_warned_of_24_is_refused() {
        let check = |version| check_version(Path::new("/node"), version);
        assert_eq!(check("v22.12.0").expect("good"), None);
        assert!(check("v20.20.2").expect("works").is_some());
        let text = check("v24.1.0").expect_err("aborts").to_string();
        assert!(text.contains("instances.node") && text.contains("/node"), "{text}");
        assert!(check("v18.0.0").is_err() && check("banana").is_err());
    }

    #[tokio::test]
    async fn a_missing_node_names_the_setting() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("launcher.js"), "").expect("written");
        std::fs::write(dir.path().join("plugins.json"), r#"["catalog"]"#).expect("written");
        let manifest = r#"{"name":"d","version":"1","digest":"x","node":"/no/such/node","launcher":"launcher.js","plugins":"plugins.json"}"#;
        std::fs::write(dir.path().join("distribution.json"), manifest).expect("written");
        let text = Distribution::open(dir.path(), None).await.expect_err("no node").to_string();
        assert!(text.contains("/no/such/node") && text.contains("instances.node"), "{text}");
        let text = Distribution::open(&dir.path().join("gone"), None).await.expect_err("no tree").to_string();
        assert!(text.contains("make distribution"), "{text}");
    }
}
