//! Files that commands are given: app-config, catalogue folder, tokens, prompts.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

use serde_json::{Map, Value};

use super::failure::Failure;
use crate::model::MAX_CATALOG_BYTES;

/// Bytes of an app-config file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Bytes of a token.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// An app-config from a `.json` or `.toml` file.
pub fn app_config(path: &Path) -> Result<Map<String, Value>, Failure> {
    object(path, "the app-config")
}

/// A table from a `.json` or `.toml` file; `what` it is goes into the error.
pub fn object(path: &Path, what: &str) -> Result<Map<String, Value>, Failure> {
    let refused = |why: String| Failure::usage(format!("cannot use {what} {}: {why}", path.display()));
    let length = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if length > MAX_CONFIG_BYTES {
        return Err(refused(format!("{length} bytes are more than 1 MiB")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|error| refused(error.to_string())),
        Some("toml") => {
            let table: toml::Table = text.parse().map_err(|error: toml::de::Error| refused(format!("\n{error}")))?;
            Ok(table.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
        _ => Err(refused("its name must end in .json or .toml".into())),
    }
}

/// TOML has dates and JSON has not: they become text.
fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::from(truth),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}

/// The `*.yaml` and `*.yml` files of a folder, by name.
pub fn catalog(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let refused =
        |path: &Path, why: String| Failure::usage(format!("cannot use the catalogue {}: {why}", path.display()));
    let mut files = BTreeMap::new();
    let mut total = 0;
    for entry in fs::read_dir(folder).map_err(|error| refused(folder, error.to_string()))? {
        let path = entry.map_err(|error| refused(folder, error.to_string()))?.path();
        if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            continue;
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| refused(&path, "its name is not UTF-8".into()))?;
        let length = fs::metadata(&path).map_err(|error| refused(&path, error.to_string()))?.len();
        total += usize::try_from(length).unwrap_or(usize::MAX);
        if total > MAX_CATALOG_BYTES {
            return Err(refused(folder, format!("its files are more than {} MiB together", MAX_CATALOG_BYTES >> 20)));
        }
        files.insert(name.to_owned(), fs::read_to_string(&path).map_err(|error| refused(&path, error.to_string()))?);
    }
    if files.is_empty() {
        return Err(refused(folder, "it holds no *.yaml file".into()));
    }
    Ok(files)
}

/// A token from a file, or from stdin for `-`.
pub fn token(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("cannot read the token from {}: {error}", file.display())))?;
    match text.trim() {
        "" => Err(Failure::usage(format!("{} holds no token", file.display()))),
        token => Ok(token.to_owned()),
    }
}

/// Asks the user to type `expected`. `None` where nobody can be asked.
pub fn typed_to_confirm(question: &str, expected: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr().lock(), "{question}");
    let mut answer = String::new();
    // A line longer than this is not the expected one.
    let mut limited = io::BufReader::new(io::stdin().lock().take(1024));
    io::BufRead::read_line(&mut limited, &mut answer).ok()?;
    Some(answer.trim() == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_config_is_json_or_toml() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let toml = app_config(&write("a.toml", "day = 2026-01-02\n[app]\ntitle = \"Acme\"\n")).expect("TOML");
        assert_eq!(Value::Object(toml), serde_json::json!({"day": "2026-01-02", "app": {"title": "Acme"}}));
        assert!(app_config(&write("a.json", r#"{"app": {}}"#)).is_ok());
        let broken = app_config(&write("b.toml", "a = 1\nb = \n")).expect_err("broken").message;
        assert!(broken.contains("b.toml") && broken.contains("line 2"), "{broken}");
        assert!(app_config(&write("a.yaml", "a: 1")).expect_err("yaml").message.contains(".json or .toml"));
        assert!(app_config(&dir.path().join("none.json")).is_err());
    }

    #[test]
    fn a_catalogue_is_the_yaml_files_of_a_folder() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(catalog(dir.path()).expect_err("empty").message.contains("no *.yaml"));
        fs::write(dir.path().join("a.yaml"), "kind: Component").expect("written");
        fs::write(dir.path().join("README.md"), "no").expect("written");
        assert_eq!(catalog(dir.path()).expect("files").keys().collect::<Vec<_>>(), ["a.yaml"]);
    }
}
