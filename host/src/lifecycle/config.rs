//! Checks a rendered config before it becomes a revision, and turns its secret references into files at launch. Pure.
//!
//! The renderer is a policy, and a policy may be wrong: nothing that could read the machine or take over what the host owns
//! gets past this, whatever the policy says.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Map, Value};

/// Bytes of a rendered config as JSON.
const MAX_CONFIG_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;

/// What the host lays over every config; nobody else sets them.
const HOST_OWNED: [&[&str]; 9] = [
    &["app", "baseUrl"],
    &["backend", "baseUrl"],
    &["backend", "listen"],
    &["backend", "https"],
    &["backend", "database"],
    &["backend", "auth"],
    &["backend", "startup"],
    &["discovery"],
    &["auth", "keyStore"],
];

/// Why a config can't be used; one sentence for the workspace's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConfigError(pub(super) String);

/// Checks a rendered config. `secrets`: names that the workspace declares.
pub(super) fn check(config: &Map<String, Value>, secrets: &BTreeSet<&str>) -> Result<(), ConfigError> {
    for path in HOST_OWNED {
        if lookup(config, path) {
            return Err(ConfigError(format!("`{}` is set by orbitd: take it out of app_config", path.join("."))));
        }
    }
    for (key, value) in config {
        walk(value, key, secrets, 0)?;
    }
    let bytes = serde_json::to_string(config).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_CONFIG_BYTES {
        return Err(ConfigError(format!("the rendered config has {bytes} bytes, more than {MAX_CONFIG_BYTES}")));
    }
    Ok(())
}

fn lookup(config: &Map<String, Value>, path: &[&str]) -> bool {
    match path {
        [] => false,
        [key] => config.get(*key).is_some_and(|value| !value.is_null()),
        [key, rest @ ..] => config.get(*key).and_then(Value::as_object).is_some_and(|inner| lookup(inner, rest)),
    }
}

fn walk(value: &Value, at: &str, secrets: &BTreeSet<&str>, depth: usize) -> Result<(), ConfigError> {
    if depth > MAX_DEPTH {
        return Err(ConfigError(format!("`{at}` is nested deeper than {MAX_DEPTH} levels")));
    }
    match value {
        Value::Object(map) => match map.keys().find(|key| key.starts_with('$')) {
            Some(_) if secret_name(map).is_some() => {
                let name = secret_name(map).unwrap_or_default();
                declared(name, at, secrets)
            }
            Some(key) => Err(ConfigError(format!(
                "`{at}` uses `{key}`: only {{\"$secret\": \"NAME\"}} is allowed, alone in its object"
            ))),
            None => map.iter().try_for_each(|(key, value)| walk(value, &format!("{at}.{key}"), secrets, depth + 1)),
        },
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, value)| walk(value, &format!("{at}[{i}]"), secrets, depth + 1))
        }
        Value::String(text) => references(text).try_for_each(|name| declared(name, at, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn declared(name: &str, at: &str, secrets: &BTreeSet<&str>) -> Result<(), ConfigError> {
    if secrets.contains(name) {
        return Ok(());
    }
    Err(ConfigError(format!(
        "`{at}` refers to the secret {name:?}, which the workspace does not declare under `secrets`"
    )))
}

fn secret_name(map: &Map<String, Value>) -> Option<&str> {
    match map.get("$secret") {
        Some(Value::String(name)) if map.len() == 1 => Some(name),
        _ => None,
    }
}

/// Names in `${NAME}` and `${NAME:-otherwise}`, which the launcher replaces by secrets; `$${…}` means the text itself.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find("${")?;
            let escaped = rest[..start].ends_with('$');
            let inner = &rest[start + 2..];
            let end = inner.find(['{', '}'])?;
            let closed = inner[end..].starts_with('}');
            rest = &inner[end..];
            if closed && !escaped {
                // With an "otherwise" a missing secret is fine.
                match inner[..end].split_once(":-") {
                    None => return Some(inner[..end].trim()),
                    Some(_) => continue,
                }
            }
        }
    })
}

/// The config as an instance gets it: `{"$secret": "NAME"}` becomes `{"$file": "<where the value lies>"}`.
pub(super) fn with_secret_files(value: &Value, file_of: &dyn Fn(&str) -> std::path::PathBuf) -> Value {
    match value {
        Value::Object(map) => match secret_name(map) {
            Some(name) => serde_json::json!({"$file": path_text(&file_of(name))}),
            None => Value::Object(map.iter().map(|(k, v)| (k.clone(), with_secret_files(v, file_of))).collect()),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| with_secret_files(item, file_of)).collect()),
        other => other.clone(),
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One text per meaning: keys sorted at every level. What a revision's digest is made of.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut sorted: Vec<_> = map.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(config: Value) -> Option<String> {
        let map = config.as_object().expect("an object").clone();
        check(&map, &["TOKEN"].into()).err().map(|error| error.0)
    }

    #[test]
    fn nothing_that_reads_the_machine_gets_through() {
        for (config, named) in [
            (json!({"a": {"b": [{"$env": "HOME"}]}}), "a.b[0]"),
            (json!({"a": {"$file": "/etc/passwd"}}), "$file"),
            (json!({"a": {"$include": "x.yaml"}}), "$include"),
            (json!({"a": {"$secret": "TOKEN", "$env": "HOME"}}), "alone"),
            (json!({"a": {"$secret": "OTHER"}}), "OTHER"),
            (json!({"a": {"$secret": 3}}), "$secret"),
            (json!({"a": "x ${HOME} y"}), "HOME"),
            (json!({"a": "${TOKEN} ${ HOME }"}), "HOME"),
        ] {
            let text = refused(config.clone()).unwrap_or_else(|| panic!("{config} went through"));
            assert!(text.contains(named), "{text}");
        }
        for config in [
            json!({"a": {"$secret": "TOKEN"}}),
            json!({"a": "${TOKEN} $${HOME} ${{ parameters.name }} ${HOME:-none} $ { } ${"}),
        ] {
            assert_eq!(refused(config), None);
        }
    }

    #[test]
    fn what_the_host_owns_is_refused_by_name() {
        for path in HOST_OWNED {
            let config = path.iter().rev().fold(json!("mine"), |inner, key| json!({ *key: inner }));
            assert!(refused(config).is_some_and(|text| text.contains(&path.join("."))), "{path:?}");
        }
        assert_eq!(refused(json!({"app": {"title": "T"}, "backend": {"csp": {}}})), None);
        let deep = (0..80).fold(json!(1), |inner, _| json!([inner]));
        assert!(refused(json!({ "a": deep })).is_some_and(|text| text.contains("deeper")));
        assert!(refused(json!({"a": "x".repeat(2 << 20)})).is_some_and(|text| text.contains("bytes")));
    }

    #[test]
    fn secrets_become_files_and_order_does_not_matter() {
        let config = json!({"a": [{"$secret": "TOKEN"}], "b": 1});
        let made = with_secret_files(&config, &|name| Path::new("/run/secrets").join(name));
        assert_eq!(made, json!({"a": [{"$file": "/run/secrets/TOKEN"}], "b": 1}));
        let (one, two) = (json!({"b": {"d": 1, "c": 2}, "a": 0}), json!({"a": 0, "b": {"c": 2, "d": 1}}));
        assert_eq!(canonical(&one).to_string(), canonical(&two).to_string());
    }
}
