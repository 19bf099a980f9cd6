//! What was expected against what was got. Pure.
//!
//! Where the answer has a table, only the keys that the case names are compared. A text, number or list is compared whole, unless
//! the case has a matcher there: `{ contains = "…" }`, `{ starts_with = "…" }`, `{ includes = […] }`, `{ excludes = […] }`,
//! `{ absent = true }`, `{ present = true }`.

use serde::Serialize;
use serde_json::{Map, Value};

/// Depth of tables compared; past it they are compared whole.
const MAX_DEPTH: usize = 64;

/// One place where the answer is not what the case says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Keys on the way, with dots: `deny.reason`.
    pub at: String,
    /// As the case has it.
    pub expected: String,
    /// As the policy has it.
    pub got: String,
}

/// Every place where `got` is not as expected, in the order of the case.
pub fn compare(expected: &Value, got: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    table(expected, Some(got), &mut Vec::new(), &mut found);
    found
}

fn table(expected: &Value, got: Option<&Value>, way: &mut Vec<String>, found: &mut Vec<Difference>) {
    let differs = |expected: String, got: Option<&Value>, way: &[String]| Difference {
        at: way.join("."),
        expected,
        got: got.map_or_else(|| "nothing".to_owned(), Value::to_string),
    };
    match (expected, got) {
        (Value::Object(wanted), Some(Value::Object(there))) if way.len() < MAX_DEPTH => {
            for (key, wanted) in wanted {
                way.push(key.clone());
                table(wanted, there.get(key), way, found);
                way.pop();
            }
        }
        (Value::Object(matcher), got) if !matches!(got, Some(Value::Object(_))) => {
            if let Err(expected) = matches(matcher, got) {
                found.push(differs(expected, got, way));
            }
        }
        (expected, Some(got)) if same(expected, got) => {}
        (expected, got) => found.push(differs(expected.to_string(), got, way)),
    }
}

/// Whether a matcher holds; the error is what it wanted, in words.
fn matches(matcher: &Map<String, Value>, got: Option<&Value>) -> Result<(), String> {
    if matcher.is_empty() {
        return if got.is_some() { Ok(()) } else { Err("a table".into()) };
    }
    for (name, wanted) in matcher {
        let text = || got.and_then(Value::as_str).zip(wanted.as_str());
        let lists = || got.and_then(Value::as_array).zip(wanted.as_array());
        let (holds, words) = match name.as_str() {
            "contains" => (text().is_some_and(|(got, part)| got.contains(part)), "text that contains"),
            "starts_with" => (text().is_some_and(|(got, start)| got.starts_with(start)), "text that starts with"),
            "includes" => {
                let all = |(got, wanted): (&Vec<Value>, &Vec<Value>)| wanted.iter().all(|one| has(got, one));
                (lists().is_some_and(all), "a list that includes")
            }
            "excludes" => {
                let none = |(got, wanted): (&Vec<Value>, &Vec<Value>)| !wanted.iter().any(|one| has(got, one));
                (lists().is_some_and(none), "a list without")
            }
            "absent" => (got.is_some() != (wanted == &Value::Bool(true)), "absent is"),
            "present" => (got.is_some() == (wanted == &Value::Bool(true)), "present is"),
            other => {
                return Err(format!(
                    "a table with {other} in it (if a matcher was meant: contains, starts_with, includes, excludes, absent, present)"
                ));
            }
        };
        if !holds {
            return Err(format!("{words} {wanted}"));
        }
    }
    Ok(())
}

fn has(list: &[Value], wanted: &Value) -> bool {
    list.iter().any(|one| same(wanted, one))
}

/// Equal, and 1 is 1.0: TOML and JSON write numbers in their own ways.
fn same(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(expected: Value, got: Value) -> Vec<String> {
        compare(&expected, &got).into_iter().map(|d| format!("{}: {} / {}", d.at, d.expected, d.got)).collect()
    }

    #[test]
    fn tables_are_compared_by_the_keys_that_are_named() {
        let got = json!({"deny": {"status": 403, "reason": "no"}});
        assert_eq!(differences(json!({"deny": {}}), got.clone()), [""; 0]);
        assert_eq!(differences(json!({"deny": {"status": 403}}), got.clone()), [""; 0]);
        assert_eq!(
            differences(json!({"deny": {"status": 404, "reason": "no"}}), got.clone()),
            ["deny.status: 404 / 403"]
        );
        assert_eq!(differences(json!({"deny": {"user": "x"}}), got.clone()), [r#"deny.user: "x" / nothing"#]);
        assert_eq!(differences(json!({"allow": {}}), got), ["allow: a table / nothing"]);
    }

    #[test]
    fn texts_and_lists_have_matchers() {
        let got = json!({"reason": "may only read", "list": ["a", "b"], "n": 1});
        for good in [
            json!({"reason": {"contains": "only"}}),
            json!({"reason": {"starts_with": "may", "contains": "read"}}),
            json!({"list": {"includes": ["b"], "excludes": ["c"]}}),
            json!({"list": ["a", "b"], "n": 1.0}),
            json!({"other": {"absent": true}, "n": {"present": true}}),
        ] {
            assert_eq!(differences(good.clone(), got.clone()), [""; 0], "{good}");
        }
        for (bad, named) in [
            (json!({"reason": {"contains": "write"}}), r#"text that contains "write""#),
            (json!({"reason": {"contians": "only"}}), "if a matcher was meant"),
            (json!({"list": {"includes": ["c"]}}), r#"a list that includes ["c"]"#),
            (json!({"list": {"excludes": ["a"]}}), r#"a list without ["a"]"#),
            (json!({"list": ["b", "a"]}), r#"["b","a"]"#),
            (json!({"n": {"contains": "1"}}), "text that contains"),
            (json!({"n": {"absent": true}}), "absent is true"),
        ] {
            let found = differences(bad, got.clone());
            assert!(found.len() == 1 && found[0].contains(named), "{found:?}");
        }
    }

    #[test]
    fn a_table_that_should_be_absent_is_seen() {
        assert_eq!(compare(&json!({"a": {"absent": true}}), &json!({"a": {"b": 1}})).len(), 1);
        assert_eq!(compare(&json!({"a": {"absent": true}}), &json!({})).len(), 0);
    }
}
