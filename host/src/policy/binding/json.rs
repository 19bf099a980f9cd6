//! Settings on their way from TOML to the JSON that policies read.

use serde_json::{Map, Value};

/// TOML as JSON; `at` is for the error. Dates are refused: JSON has none.
pub fn json_of(value: &toml::Value, at: &str) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(_) => {
            return Err(format!("{at} is a date, which JSON has not: write it as text"));
        }
        toml::Value::Array(items) => {
            Value::Array(items.iter().map(|item| json_of(item, at)).collect::<Result<_, String>>()?)
        }
        toml::Value::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.clone(), json_of(value, &format!("{at}.{key}"))?);
            }
            Value::Object(object)
        }
    })
}
