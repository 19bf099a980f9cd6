//! A module's own schema of its settings (JSON Schema, draft 2020-12), and what settings say against it.
//!
//! The schema comes out of a guest, so it is not believed: it must be a valid schema, may refer only to itself (`#/…`), has regular expressions
//! that run in linear time, and what checking it can cost is bounded before it is used.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions, ValidationError, paths::LocationSegment};
use serde_json::Value;

/// Complaints that are told; the rest is counted.
const MAX_TOLD: usize = 5;
/// Characters of one complaint: it may quote a value.
const MAX_SENTENCE: usize = 300;
/// Schemas that one value may meet, all references followed.
const MAX_COST: u64 = 100_000;
/// References and keywords within one another.
const MAX_DEPTH: u32 = 200;
/// Of a compiled regular expression, bytes.
const MAX_REGEX: usize = 1 << 20;

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Complaint {
    /// The schema itself is no schema: the module is at fault.
    Schema(String),
    /// The settings don't fit it.
    Settings {
        /// The first few.
        misfits: Vec<Misfit>,
        /// How many more there are.
        more: usize,
    },
}

/// A place in the settings that does not fit, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// Keys and indices from the settings' top.
    pub at: Vec<String>,
    /// A sentence.
    pub why: String,
}

/// Checks `settings` against `schema` (JSON text; empty allows everything).
pub fn check(schema: &str, settings: &Value) -> Result<(), Complaint> {
    if schema.trim().is_empty() {
        return Ok(());
    }
    let broken = |why: String| Complaint::Schema(sentence(&why));
    let schema: Value = serde_json::from_str(schema).map_err(|error| broken(format!("it is no JSON: {error}")))?;
    Cost { schema: &schema, known: HashMap::new() }.of(&schema, 0).map_err(broken)?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_REGEX))
        .offline()
        .build(&schema)
        .map_err(|error| broken(format!("{error} (at {:?} of the schema)", error.instance_path().as_str())))?;
    let mut errors = validator.iter_errors(settings);
    let misfits: Vec<Misfit> = errors.by_ref().take(MAX_TOLD).map(|error| misfit(&error)).collect();
    if misfits.is_empty() { Ok(()) } else { Err(Complaint::Settings { misfits, more: errors.count() }) }
}

fn misfit(error: &ValidationError<'_>) -> Misfit {
    let segments = error.instance_path().segments();
    let at = segments.map(|segment| match segment {
        LocationSegment::Property(name) => name.to_string(),
        LocationSegment::Index(index) => index.to_string(),
    });
    Misfit { at: at.collect(), why: sentence(&error.to_string()) }
}

fn sentence(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SENTENCE + 1).collect();
    if text.chars().count() > MAX_SENTENCE {
        text.pop();
        text.push('…');
    }
    text
}

/// How many schemas a value can meet, references followed: nested doublings grow it exponentially, recursion does not.
struct Cost<'a> {
    schema: &'a Value,
    /// By reference; none while it is being counted.
    known: HashMap<&'a str, Option<u64>>,
}

impl<'a> Cost<'a> {
    fn of(&mut self, node: &'a Value, depth: u32) -> Result<u64, String> {
        if depth > MAX_DEPTH {
            return Err(format!("its references are nested more than {MAX_DEPTH} deep"));
        }
        let mut cost: u64 = 1;
        match node {
            Value::Array(items) => {
                for item in items {
                    cost = cost.saturating_add(self.of(item, depth + 1)?);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let more = match (key.as_str(), value) {
                        ("$ref", Value::String(reference)) => self.reference(reference, depth)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                            return Err(format!("it uses {key}, which is not supported: write $ref"));
                        }
                        _ => self.of(value, depth + 1)?,
                    };
                    cost = cost.saturating_add(more);
                }
            }
            _ => {}
        }
        if cost > MAX_COST {
            return Err(format!("checking it could take more than {MAX_COST} steps for one value"));
        }
        Ok(cost)
    }

    fn reference(&mut self, reference: &'a str, depth: u32) -> Result<u64, String> {
        match self.known.get(reference) {
            Some(Some(cost)) => return Ok(*cost),
            // Recursion: it goes on with a smaller value, or the validator notices that it does not.
            Some(None) => return Ok(1),
            None => {}
        }
        let pointer = reference
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .ok_or_else(|| format!("it refers to {reference:?}: only references within itself (#/…) are followed"))?;
        let target =
            self.schema.pointer(pointer).ok_or_else(|| format!("it refers to {reference:?}, which is not there"))?;
        self.known.insert(reference, None);
        let cost = self.of(target, depth + 1)?;
        self.known.insert(reference, Some(cost));
        Ok(cost)
    }
}

/// The line of a key in TOML text, from 1: of the deepest part of `path` that is there.
pub fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let mut start = None;
    let mut here: Option<&toml::de::DeValue<'_>> = None;
    for part in path {
        let found = match here {
            None => entry(table.get_ref(), part),
            Some(toml::de::DeValue::Table(inner)) => entry(inner, part),
            Some(toml::de::DeValue::Array(items)) => {
                part.parse().ok().and_then(|at: usize| items.get(at)).map(|item| (item.span().start, item.get_ref()))
            }
            Some(_) => None,
        };
        let Some((at, value)) = found else { break };
        start = Some(at);
        here = Some(value);
    }
    Some(text.get(..start?)?.matches('\n').count() + 1)
}

fn entry<'a, 'i>(table: &'a toml::de::DeTable<'i>, name: &str) -> Option<(usize, &'a toml::de::DeValue<'i>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span().start, value.get_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misfits(schema: &Value, settings: &Value) -> Vec<(String, String)> {
        match check(&schema.to_string(), settings) {
            Ok(()) => Vec::new(),
            Err(Complaint::Settings { misfits, .. }) => {
                misfits.into_iter().map(|misfit| (misfit.at.join("."), misfit.why)).collect()
            }
            Err(Complaint::Schema(why)) => panic!("a good schema: {why}"),
        }
    }
    fn broken(schema: &str) -> String {
        match check(schema, &json!({})) {
            Err(Complaint::Schema(why)) => why,
            other => panic!("{other:?} for {schema}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["plugins"],
            "properties": {"plugins": {"type": "array", "items": {"type": "string"}},
                           "timeouts": {"type": "object", "additionalProperties": {"$ref": "#/$defs/ms"}}},
            "$defs": {"ms": {"type": "integer", "minimum": 0}}});
        assert!(misfits(&schema, &json!({"plugins": ["a"], "timeouts": {"a": 1}})).is_empty());
        let wrong = misfits(&schema, &json!({"plugins": ["a", 7], "timeouts": {"a": -1}, "plugin": 1}));
        let places: Vec<&str> = wrong.iter().map(|(at, _)| at.as_str()).collect();
        assert!(places.contains(&"plugins.1") && places.contains(&"timeouts.a") && places.contains(&""), "{wrong:?}");
        assert!(wrong.iter().any(|(_, why)| why.contains("plugin")), "the unknown key is named: {wrong:?}");
        assert!(check("", &json!({"a": 1})).is_ok(), "no schema, no complaint");
        let many: Vec<u32> = (0..50).collect();
        let told = check(&schema.to_string(), &json!({ "plugins": many }));
        assert!(matches!(told, Err(Complaint::Settings { misfits, more: 45 }) if misfits.len() == MAX_TOLD));
    }

    #[test]
    fn a_schema_that_is_none_is_the_module_s_fault() {
        assert!(broken("{").contains("no JSON"));
        assert!(broken(r#"{"type": "strang"}"#).contains("strang"));
        assert!(broken(r#"{"properties": 7}"#).contains("properties"));
        assert!(broken(r#"{"$ref": "https://example.org/schema"}"#).contains("example.org"));
        assert!(broken(r##"{"$ref": "#/$defs/none"}"##).contains("not there"));
        assert!(broken(r##"{"$dynamicRef": "#a"}"##).contains("$ref"));
        assert!(broken(r#"{"pattern": "("}"#).len() > 10);
    }

    #[test]
    fn a_schema_can_not_hold_the_loader_up() {
        let began = std::time::Instant::now();
        let mut defs = serde_json::Map::new();
        defs.insert("d0".into(), json!({"type": "object"}));
        for n in 1..60 {
            let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            defs.insert(format!("d{n}"), json!({"allOf": [below.clone(), below]}));
        }
        let doubling = json!({"$ref": "#/$defs/d59", "$defs": defs}).to_string();
        assert!(broken(&doubling).contains("steps"), "2^59");
        let itself = [r##"{"$ref": "#"}"##, r##"{"allOf": [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}]}]}"##];
        for schema in itself {
            let _ = check(schema, &json!({"a": {"b": 1}}));
        }
        let backtracking = json!({"properties": {"a": {"pattern": "^(a+)+$"}}}).to_string();
        assert!(check(&backtracking, &json!({"a": format!("{}!", "a".repeat(10_000))})).is_err());
        // Without its bounds it would take days.
        assert!(began.elapsed() < std::time::Duration::from_secs(120), "{:?}", began.elapsed());
    }

    #[test]
    fn a_place_in_the_settings_has_a_line_in_the_file() {
        let text = "[router]\nmodule = \"r\"\n\n[router.settings]\na = 1\nb = [\n  \"x\",\n  7,\n]\n\n[[authorizer]]\nmodule = \"a\"\n\
                    [[authorizer]]\nmodule = \"b\"\nsettings.c.d = 1\n";
        let line = |path: &str| line_of(text, &path.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(line("router.settings.a"), Some(5));
        assert_eq!(line("router.settings.b.1"), Some(8));
        assert_eq!(line("router.settings.missing"), line("router.settings"));
        assert_eq!(line("authorizer.1.settings.c.d"), Some(15));
        assert_eq!(line("nothing"), None);
    }
}
