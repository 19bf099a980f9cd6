//! What a workspace may ask to have in its `app-config`, whoever asks: config sources and the admin API check here.
//!
//! Backstage's config loader gives some texts power: `{$env: …}`, `{$file: …}`, `{$include: …}` and `${NAME}` read the
//! environment and files of the instance (facts.md 1, "Config"). Text that a workspace controls must never carry them: the
//! one reference it has is `{"$secret": "NAME"}`, which names a declared secret and is resolved by the host.

use serde_json::{Map, Number, Value};

/// Objects and lists inside each other; Backstage's own schemas need about 8.
const MAX_DEPTH: usize = 32;
/// Keys that mean something to the config loader, or to JavaScript (`__proto__`).
const FORBIDDEN_KEYS: [&str; 4] = ["$env", "$file", "$include", "__proto__"];
const SECRET_KEY: &str = "$secret";

/// Checks a whole `app_config`. Returns the names of the secrets it refers to; the error names the place
/// (`app_config.backend.x`), the reason and the next step.
pub fn check_app_config(app_config: &Map<String, Value>) -> Result<Vec<&str>, String> {
    let mut secrets = Vec::new();
    check_object(app_config, 1, &mut secrets).map_err(|problem| problem.at("app_config"))?;
    Ok(secrets)
}

/// TOML → JSON. Dates become text; `nan` and `inf` have no JSON form and are refused.
pub(super) fn json_from_toml(table: toml::Table) -> Result<Map<String, Value>, String> {
    object_from_toml(table, 1).map_err(|problem| problem.at("app_config"))
}

/// A reason, and the keys that lead to it, innermost first.
struct Problem {
    path: Vec<String>,
    reason: String,
}

impl Problem {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }
    fn under(mut self, key: &str) -> Self {
        // A key may be long; an error text is not.
        self.path.push(key.chars().take(64).collect());
        self
    }
    fn at(self, root: &str) -> String {
        let path = self.path.into_iter().rev().fold(root.to_owned(), |path, key| path + "." + &key);
        format!("{path}: {}", self.reason)
    }
}

fn too_deep() -> Problem {
    Problem::new(format!("more than {MAX_DEPTH} levels inside each other"))
}

fn check_object<'a>(object: &'a Map<String, Value>, depth: usize, secrets: &mut Vec<&'a str>) -> Result<(), Problem> {
    if let Some(name) = object.get(SECRET_KEY) {
        return match name {
            Value::String(name) if object.len() == 1 && is_secret_name(name) => {
                secrets.push(name);
                Ok(())
            }
            _ => Err(Problem::new(format!(
                "{SECRET_KEY} stands alone and names a secret: {{ \"{SECRET_KEY}\" = \"GITHUB_TOKEN\" }}"
            ))),
        };
    }
    for (key, value) in object {
        if FORBIDDEN_KEYS.contains(&key.as_str()) {
            let reason =
                format!("the key {key} is not allowed here; for a secret write {{ \"{SECRET_KEY}\" = \"NAME\" }}");
            return Err(Problem::new(reason).under(key));
        }
        check_value(value, depth, secrets).map_err(|problem| problem.under(key))?;
    }
    Ok(())
}

fn check_value<'a>(value: &'a Value, depth: usize, secrets: &mut Vec<&'a str>) -> Result<(), Problem> {
    match value {
        Value::Object(_) | Value::Array(_) if depth >= MAX_DEPTH => Err(too_deep()),
        Value::Object(object) => check_object(object, depth + 1, secrets),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            check_value(item, depth + 1, secrets).map_err(|problem| problem.under(&index.to_string()))
        }),
        Value::String(text) if reads_environment(text) => Err(Problem::new(format!(
            "${{…}} would read the instance's environment; write $${{…}} for the text itself, or {{ \"{SECRET_KEY}\" = \"NAME\" }} for a secret"
        ))),
        _ => Ok(()),
    }
}

/// Whether Backstage's loader would substitute something: it looks for `${…}` without braces inside, and takes `$${…}` for
/// the text `${…}`.
fn reads_environment(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let escaped = text[..at].ends_with('$');
        let closed = text[at + 2..].find(['{', '}']).is_some_and(|end| text[at + 2 + end..].starts_with('}'));
        !escaped && closed
    })
}

/// `[A-Z][A-Z0-9_]*`, at most 64 characters.
pub(super) fn is_secret_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn object_from_toml(table: toml::Table, depth: usize) -> Result<Map<String, Value>, Problem> {
    table
        .into_iter()
        .map(|(key, value)| match value_from_toml(value, depth) {
            Ok(value) => Ok((key, value)),
            Err(problem) => Err(problem.under(&key)),
        })
        .collect()
}

fn value_from_toml(value: toml::Value, depth: usize) -> Result<Value, Problem> {
    Ok(match value {
        toml::Value::Table(_) | toml::Value::Array(_) if depth >= MAX_DEPTH => return Err(too_deep()),
        toml::Value::Table(table) => Value::Object(object_from_toml(table, depth + 1)?),
        toml::Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| value_from_toml(item, depth + 1).map_err(|p| p.under(&index.to_string())))
            .collect::<Result<_, _>>()?,
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::Number(number.into()),
        toml::Value::Float(number) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| Problem::new(format!("{number} has no JSON form; use a finite number")))?,
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("test input")
    }

    #[test]
    fn what_backstage_would_expand_is_refused_wherever_it_hides() {
        for (text, place) in [
            (r#"{"a":{"$env":"HOME"}}"#, "app_config.a.$env"),
            (r#"{"a":[{"b":{"$file":"/etc/passwd"}}]}"#, "app_config.a.0.b.$file"),
            (r#"{"a":{"$include":"x.yaml#k","c":1}}"#, "app_config.a.$include"),
            (r#"{"$env":"HOME"}"#, "app_config.$env"),
            (r#"{"a":"x ${HOME} y"}"#, "app_config.a"),
            (r#"{"a":"${HOME:-x}"}"#, "app_config.a"),
            (r#"{"a":"$${A} ${B}"}"#, "app_config.a"),
            (r#"{"__proto__":{"x":1}}"#, "app_config.__proto__"),
        ] {
            let reason = check_app_config(&object(text)).expect_err(text);
            assert!(reason.starts_with(&format!("{place}: ")), "{text}: {reason}");
        }
    }

    #[test]
    fn harmless_dollars_stay_allowed() {
        for text in
            [r#"{"a":"$${HOME}"}"#, r#"{"a":"costs $5 {x}"}"#, r#"{"a":"${"}"#, r#"{"a":"${{ parameters.x }}"}"#]
        {
            assert_eq!(check_app_config(&object(text)), Ok(vec![]), "{text}");
        }
    }

    #[test]
    fn a_secret_reference_stands_alone_and_is_reported() {
        let good = object(r#"{"a":{"t":{"$secret":"GITHUB_TOKEN"}},"b":[{"$secret":"X1"}]}"#);
        assert_eq!(check_app_config(&good), Ok(vec!["GITHUB_TOKEN", "X1"]));
        for bad in [r#"{"a":{"$secret":"lower"}}"#, r#"{"a":{"$secret":"A","b":1}}"#, r#"{"a":{"$secret":1}}"#] {
            assert!(check_app_config(&object(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_is_limited_in_json_and_in_toml() {
        let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        assert!(check_app_config(&object(&nested(32))).is_ok());
        assert!(check_app_config(&object(&nested(33))).is_err());
        let deep = format!("{} = 1", vec!["a"; 33].join(".")).parse::<toml::Table>().expect("toml");
        assert!(json_from_toml(deep).expect_err("too deep").contains("32 levels"));
    }

    #[test]
    fn toml_becomes_json_without_surprises() {
        let table = "d = 2026-01-02T03:04:05Z\nt = 07:00:00\nf = 1.5\ni = -3\nl = [1, \"a\"]\n[x.y]\nz = true"
            .parse::<toml::Table>()
            .expect("toml");
        let json = Value::Object(json_from_toml(table).expect("converts"));
        let expected = serde_json::json!({
            "d": "2026-01-02T03:04:05Z", "t": "07:00:00", "f": 1.5, "i": -3, "l": [1, "a"], "x": {"y": {"z": true}},
        });
        assert_eq!(json, expected);
        for bad in ["a.b = nan", "a.b = inf", "a.b = -inf"] {
            let reason = json_from_toml(bad.parse().expect("toml")).expect_err(bad);
            assert!(reason.starts_with("app_config.a.b: "), "{reason}");
        }
    }
}
