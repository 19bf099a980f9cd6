//! What no workspace may ask for, whatever its tier.

use serde_json::{Map, Value};

/// Refuses every `$` key but `{"$secret": "NAME"}`; `at` names the object for the error.
pub fn check_directives(config: &Map<String, Value>, at: &str) -> Result<(), String> {
    for (key, value) in config {
        if key == "$secret" {
            let good = value.as_str().is_some_and(is_secret_name) && config.len() == 1;
            if !good {
                return Err(format!(
                    "{at}: a secret is written {{\"$secret\": \"NAME\"}}, alone in its object, NAME of A-Z, 0-9 and _"
                ));
            }
        } else if key.starts_with('$') {
            return Err(format!(
                "{at}.{key} is not allowed: config can't read files, variables or other config; for a secret write \
                 {{\"$secret\": \"NAME\"}}"
            ));
        } else {
            check_value(value, &format!("{at}.{key}"))?;
        }
    }
    Ok(())
}

fn check_value(value: &Value, at: &str) -> Result<(), String> {
    match value {
        Value::Object(inner) => check_directives(inner, at),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_value(item, &format!("{at}[{index}]")))
        }
        _ => Ok(()),
    }
}

/// Refuses catalogue locations that read files: orbitd adds the workspace's own catalogue folder itself.
pub fn check_locations(config: &Map<String, Value>) -> Result<(), String> {
    let locations = config.get("catalog").and_then(|catalog| catalog.get("locations")).and_then(Value::as_array);
    for (index, location) in locations.into_iter().flatten().enumerate() {
        let kind = location.get("type").and_then(Value::as_str).unwrap_or("");
        if kind.is_empty() || kind.eq_ignore_ascii_case("file") {
            return Err(format!(
                "app_config.catalog.locations[{index}] has type {kind:?}: a location is read by URL (type url); put files into \
                 the workspace's catalog folder"
            ));
        }
    }
    Ok(())
}

fn is_secret_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
