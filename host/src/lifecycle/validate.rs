//! Checks a spec before it is stored. Pure.

use super::LifecycleError;
use crate::model::{MAX_CATALOG_BYTES, SecretRef, Spec};

const MAX_APP_CONFIG_BYTES: usize = 1 << 20;
const MAX_CATALOG_FILES: usize = 1_000;
const MAX_NAME: usize = 100;
const MAX_SECRETS: usize = 100;
const MAX_PLUGINS: usize = 100;

/// Why a spec can't be stored, as [`LifecycleError::Invalid`].
pub(super) fn spec(spec: &Spec) -> Result<(), LifecycleError> {
    check(spec).map_err(LifecycleError::Invalid)
}

fn check(spec: &Spec) -> Result<(), String> {
    let bytes = serde_json::to_string(&spec.app_config).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_APP_CONFIG_BYTES {
        return Err(format!("app_config has {bytes} bytes, more than {MAX_APP_CONFIG_BYTES}"));
    }
    let bytes: usize = spec.catalog.values().map(String::len).sum();
    if bytes > MAX_CATALOG_BYTES {
        return Err(format!("the catalogue files have {bytes} bytes together, more than {MAX_CATALOG_BYTES}"));
    }
    if spec.catalog.len() > MAX_CATALOG_FILES {
        return Err(format!("there are {} catalogue files, more than {MAX_CATALOG_FILES}", spec.catalog.len()));
    }
    if let Some(name) = spec.catalog.keys().find(|name| !is_file_name(name)) {
        return Err(format!(
            "{name:?} can't be a catalogue file: its name must be made of A-Z a-z 0-9 . _ - and not start with a dot"
        ));
    }
    if spec.secrets.len() > MAX_SECRETS {
        return Err(format!("there are {} secrets, more than {MAX_SECRETS}", spec.secrets.len()));
    }
    for (name, SecretRef::File(file)) in &spec.secrets {
        if !is_secret_name(name) {
            return Err(format!(
                "{name:?} can't be a secret's name: it must be made of A-Z 0-9 _ and start with a letter"
            ));
        }
        if !is_file_name(file) {
            return Err(format!(
                "the secret {name} can't be read from {file:?}: name a file without a slash, made of A-Z a-z 0-9 . _ -"
            ));
        }
    }
    match &spec.plugins {
        Some(plugins) if plugins.len() > MAX_PLUGINS => {
            Err(format!("there are {} plugins, more than {MAX_PLUGINS}", plugins.len()))
        }
        _ => Ok(()),
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_secret_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// RFC 7396: what the patch names is replaced, objects are merged, null removes.
pub(super) fn merge_patch(
    target: &mut serde_json::Map<String, serde_json::Value>,
    patch: serde_json::Map<String, serde_json::Value>,
) {
    use serde_json::Value;
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(&key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key).or_insert_with(|| Value::Object(Default::default()));
                if !slot.is_object() {
                    *slot = Value::Object(Default::default());
                }
                if let Value::Object(slot) = slot {
                    merge_patch(slot, inner);
                }
            }
            other => {
                target.insert(key, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn empty() -> Spec {
        serde_json::from_value(json!({"tier": "pro"})).expect("a spec")
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert_eq!(check(&empty()), Ok(()));
        for name in ["../x.yaml", "a/b", ".hidden", "", "a\0b", "ä.yaml"] {
            let spec = Spec { catalog: [(name.to_owned(), String::new())].into(), ..empty() };
            assert!(check(&spec).is_err(), "{name:?}");
            let secrets = [("TOKEN".to_owned(), SecretRef::File(name.to_owned()))].into();
            assert!(check(&Spec { secrets, ..empty() }).is_err(), "{name:?}");
        }
        for name in ["token", "1A", "A-B", "", "_A"] {
            let secrets = [(name.to_owned(), SecretRef::File("f".to_owned()))].into();
            assert!(check(&Spec { secrets, ..empty() }).is_err(), "{name:?}");
        }
        let big = Spec { catalog: [("a.yaml".to_owned(), "x".repeat(MAX_CATALOG_BYTES + 1))].into(), ..empty() };
        assert!(check(&big).expect_err("too big").contains("8388608"));
    }

    #[test]
    fn a_merge_patch_merges_replaces_and_removes() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": 5}).as_object().expect("an object").clone();
        let patch = json!({"a": {"b": null, "x": {"y": 1}}, "d": [2], "e": {"f": null, "g": 1}});
        merge_patch(&mut target, patch.as_object().expect("an object").clone());
        assert_eq!(json!(target), json!({"a": {"c": 2, "x": {"y": 1}}, "d": [2], "e": {"g": 1}}));
    }
}
