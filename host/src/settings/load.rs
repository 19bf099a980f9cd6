//! Reads `orbitd.toml` and lays the environment over it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Settings;
use crate::words;

const PREFIX: &str = "ORBITD__";

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type; the text names line and key.
    #[error("{} is not a valid orbitd.toml:\n{}", path.display(), words::plain(&source.to_string()))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A variable that starts with `ORBITD__` and is no setting, or has a wrong value.
    #[error("the environment variable {variable} is not a valid setting: {reason}")]
    Environment {
        /// Its name.
        variable: String,
        /// Why not.
        reason: String,
    },
}

/// Settings from `file` (none: defaults) and `environment` (`ORBITD__PROXY__LISTEN` is `proxy.listen`).
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let mut table = Table::new();
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let invalid = |source| SettingsError::Invalid { path: path.to_owned(), source: Box::new(source) };
        // Typed first: this error knows the line. The table is only for laying the environment over it.
        toml::from_str::<Settings>(&text).map_err(invalid)?;
        table = text.parse().map_err(invalid)?;
    }
    let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (variable, text) in variables {
        let path: Vec<String> = variable[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let mut candidate = table.clone();
        let applied = set(&mut candidate, &path, parse(&text))
            .and_then(|()| {
                Value::Table(candidate.clone()).try_into::<Settings>().map_err(|e| words::plain(e.message()))
            })
            // A text that looks like a number or a list may still be meant as text.
            .or_else(|reason| {
                candidate = table.clone();
                set(&mut candidate, &path, Value::String(text.clone()))?;
                Value::Table(candidate.clone()).try_into::<Settings>().map_err(|_| reason)
            });
        applied.map_err(|reason| SettingsError::Environment { variable, reason })?;
        table = candidate;
    }
    Value::Table(table).try_into().map_err(|source| SettingsError::Invalid {
        path: file.unwrap_or(Path::new("(environment)")).to_owned(),
        source: Box::new(source),
    })
}

fn parse(text: &str) -> Value {
    // TOML's own reading of a value: `8080`, `true`, `["a"]`; everything else is text.
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Err("it names no key".to_owned()),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [key, rest @ ..] => match table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("`{key}` is not a section")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("orbitd.toml");
        std::fs::write(&path, "data_dir = \"d\"\n[proxy]\nlissten = \"127.0.0.1:1\"\n").expect("written");
        let text = load(Some(&path), []).expect_err("an unknown key").to_string();
        assert!(text.contains("line 3") && text.contains("lissten"), "{text}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("orbitd.toml");
        std::fs::write(&path, "[proxy]\nlisten = \"127.0.0.1:1\"\nmax_held = 5\n").expect("written");
        let settings =
            load(Some(&path), env(&[("ORBITD__PROXY__LISTEN", "127.0.0.1:2"), ("HOME", "/")])).expect("valid");
        assert_eq!(settings.proxy.listen.port(), 2);
        assert_eq!(settings.proxy.max_held, 5);
        let wrong = load(None, env(&[("ORBITD__PROXY__MAX_HELD", "many")])).expect_err("not a number").to_string();
        assert!(wrong.contains("ORBITD__PROXY__MAX_HELD"), "{wrong}");
        assert!(wrong.ends_with("expected a whole number, 0 or more"), "{wrong}");
        std::fs::write(&path, "[proxy]\nmax_held = \"many\"\n").expect("written");
        let wrong = load(Some(&path), []).expect_err("not a number").to_string();
        assert!(
            wrong.contains("line 2") && wrong.trim_end().ends_with("expected a whole number, 0 or more"),
            "{wrong}"
        );
    }
}
