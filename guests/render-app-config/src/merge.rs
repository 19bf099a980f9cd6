//! Laying one config over another.

use serde_json::{Map, Value, map::Entry};

/// Objects are merged, everything else is replaced, as Backstage merges its config files.
pub fn lay_over(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match under.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => match (entry.get_mut(), value) {
                (Value::Object(under), Value::Object(over)) if !is_secret(under) && !is_secret(&over) => {
                    lay_over(under, over);
                }
                (slot, value) => *slot = value,
            },
        }
    }
}

/// `{"$secret": …}` is one value, not a section to merge into.
fn is_secret(object: &Map<String, Value>) -> bool {
    object.contains_key("$secret")
}

/// Free-form JSON inside packed settings: as text there, as an object in the binding.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
    use serde_json::{Map, Value};

    /// To text where the form is packed.
    pub fn serialize<S: Serializer>(value: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(serializer)
    }

    /// From an object (the binding) or from text (packed).
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
        if deserializer.is_human_readable() {
            Map::deserialize(deserializer)
        } else {
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}
