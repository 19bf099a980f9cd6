//! `key=value` expressions of `orbitd workspace set`, as a patch for the admin API.
//!
//! ```text
//! tier=pro   desired=stopped   plugins=catalog,search   app_config.app.title="My portal"   app_config.techdocs=null
//! app_config."a.b".c=[1, 2]
//! ```
//! A value is JSON where it reads as JSON, otherwise text. `null` removes (RFC 7396, as the API merges).

use std::str::FromStr;

use serde_json::{Map, Value};

/// How deep an `app_config` path may go.
const MAX_DEPTH: usize = 32;

/// One understood expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    path: Vec<String>,
    value: Value,
}

impl FromStr for Assignment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, rest) = read_path(text)?;
        let value = match path[0].as_str() {
            "tier" | "desired" if path.len() == 1 => Value::from(rest),
            "plugins" if path.len() == 1 => plugins(rest)?,
            "app_config" if path.len() > 1 => serde_json::from_str(rest).unwrap_or_else(|_| Value::from(rest)),
            "app_config" => match serde_json::from_str(rest) {
                Ok(Value::Object(map)) => Value::Object(map),
                _ => {
                    return Err(
                        "app_config itself takes a JSON object; one key of it is app_config.<key>=<value>".into()
                    );
                }
            },
            _ => {
                return Err(format!(
                    "{:?} can't be set; what can be: tier, desired (running, stopped), plugins, app_config.<path>",
                    path.join(".")
                ));
            }
        };
        Ok(Self { path, value })
    }
}

/// All of them as the body of one PATCH, in their order: a later one wins.
pub fn patch(assignments: &[Assignment]) -> Map<String, Value> {
    let mut body = Map::new();
    for Assignment { path, value } in assignments {
        lay(&mut body, path, value.clone());
    }
    body
}

fn lay(map: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            map.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                lay(inner, rest, value);
            }
        }
    }
}

fn plugins(text: &str) -> Result<Value, String> {
    if text.starts_with('[') {
        return serde_json::from_str::<Vec<String>>(text)
            .map(Value::from)
            .map_err(|_| format!("plugins={text} is not a list of texts; write plugins=catalog,search"));
    }
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(Value::from).collect())
}

/// The path before the first `=` outside quotes, and the text after it.
fn read_path(text: &str) -> Result<(Vec<String>, &str), String> {
    let wrong = |why: &str| format!("{text:?} is not <key>=<value>: {why}");
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        let key = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(|| wrong("a quote is not closed"))?;
            rest = &quoted[end + 1..];
            &quoted[..end]
        } else {
            let end = rest.find(['.', '=']).ok_or_else(|| wrong("there is no '='"))?;
            let (key, after) = rest.split_at(end);
            rest = after;
            key
        };
        if key.is_empty() {
            return Err(wrong("a part of the key is empty"));
        }
        path.push(key.to_owned());
        if path.len() > MAX_DEPTH {
            return Err(wrong("the key has more than 32 parts"));
        }
        if let Some(value) = rest.strip_prefix('=') {
            return Ok((path, value));
        }
        rest = rest.strip_prefix('.').ok_or_else(|| wrong("after a key comes '.' or '='"))?;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(expressions: &[&str]) -> Value {
        let parsed: Vec<Assignment> = expressions.iter().map(|text| text.parse().expect("an assignment")).collect();
        Value::Object(patch(&parsed))
    }

    #[test]
    fn values_are_json_where_they_read_as_json() {
        assert_eq!(
            body(&[
                "tier=pro",
                "desired=stopped",
                "plugins=catalog, search",
                "app_config.app.title=Acme & Co",
                r#"app_config.app.support="5""#,
                "app_config.backend.cache=true",
                "app_config.techdocs=null",
                r#"app_config."a.b".c=[1, 2]"#,
                "app_config.note=a=b",
            ]),
            json!({
                "tier": "pro", "desired": "stopped", "plugins": ["catalog", "search"],
                "app_config": {
                    "app": {"title": "Acme & Co", "support": "5"}, "backend": {"cache": true}, "techdocs": null,
                    "a.b": {"c": [1, 2]}, "note": "a=b",
                },
            })
        );
    }

    #[test]
    fn a_later_expression_wins_and_tier_is_always_text() {
        assert_eq!(body(&["app_config.a=1", "app_config.a.b=2"]), json!({"app_config": {"a": {"b": 2}}}));
        assert_eq!(body(&[r#"app_config={"a":1}"#, "app_config.b=2"]), json!({"app_config": {"a": 1, "b": 2}}));
        assert_eq!(body(&["tier=1", "plugins=[]"]), json!({"tier": "1", "plugins": []}));
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        for (wrong, hint) in [
            ("tier", "no '='"),
            ("=x", "empty"),
            ("app_config..a=1", "empty"),
            ("app_config.\"a=1", "not closed"),
            ("app_config.\"a\"b=1", "'.' or '='"),
            ("app_config=5", "JSON object"),
            ("owner=me", "what can be"),
            ("tier.x=1", "what can be"),
            ("plugins=[1]", "list of texts"),
        ] {
            let error = wrong.parse::<Assignment>().expect_err(wrong);
            assert!(error.contains(hint), "{wrong}: {error}");
        }
    }
}
