//! Which parts of `app-config` a workspace may set: dotted paths, allowed ones and exceptions from them.

use serde_json::{Map, Value};

/// The allowed part of `asked`, and the paths of what was taken out.
pub fn split(asked: Map<String, Value>, allowed: &[String], denied: &[String]) -> (Map<String, Value>, Vec<String>) {
    let mut forbidden = Vec::new();
    let kept = split_at(asked, "", &Rules { allowed, denied }, &mut forbidden);
    (kept, forbidden)
}

struct Rules<'a> {
    allowed: &'a [String],
    denied: &'a [String],
}

fn split_at(asked: Map<String, Value>, at: &str, rules: &Rules<'_>, forbidden: &mut Vec<String>) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in asked {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        // A dot in a key would make another path look allowed.
        let exact = !key.contains('.') && !rules.denied.iter().any(|rule| covers(rule, &path));
        let allowed = rules.allowed.iter().any(|rule| covers(rule, &path));
        // A rule about a part of this section: look inside, and accept nothing but a section here, because another value
        // would replace the part too.
        let partial = rules.denied.iter().chain(rules.allowed).any(|rule| covers(&path, rule) && *rule != path);
        match value {
            Value::Object(inner) if exact && partial => {
                let inner = split_at(inner, &path, rules, forbidden);
                if !inner.is_empty() {
                    kept.insert(key, Value::Object(inner));
                }
            }
            value if exact && allowed && !partial => {
                kept.insert(key, value);
            }
            _ => forbidden.push(path),
        }
    }
    kept
}

/// Whether `path` is `rule` or lies under it.
fn covers(rule: &str, path: &str) -> bool {
    path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
