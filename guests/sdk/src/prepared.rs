//! Settings on their way from JSON, at load, to each decision.

use serde::{Serialize, de::DeserializeOwned};

use crate::{words, worlds::Configured};

/// Parses the settings text of a binding, lets the policy check it, and packs it.
pub fn to_configured<S, P>(
    text: &str,
    prepare: impl FnOnce(S) -> Result<P, String>,
    inputs: impl FnOnce(&P) -> Vec<String>,
) -> Result<Configured, String>
where
    S: DeserializeOwned,
    P: Serialize,
{
    #[cfg(target_family = "wasm")]
    crate::memory::beyond();
    let prepared = prepare(parse(text)?)?;
    let bytes = postcard::to_allocvec(&prepared).map_err(|_| "the settings can't be packed".to_string())?;
    Ok(Configured { inputs: inputs(&prepared), settings: bytes })
}

/// The error names the setting; its author never saw the JSON text, so not the place in that.
fn parse<S: DeserializeOwned>(text: &str) -> Result<S, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let settings = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        let (said, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
        let said = words::plain(said.strip_suffix(&place).unwrap_or(&said));
        // `.` is the whole; `?` is not known.
        if path.contains(|c: char| c != '.' && c != '?') { format!("{path}: {said}") } else { said }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(settings)
}

/// Unpacks what [`to_configured`] packed.
pub fn from_bytes<P: DeserializeOwned>(bytes: &[u8]) -> Result<P, String> {
    postcard::from_bytes(bytes).map_err(|_| "the prepared settings are of another version of this policy".to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        status: u16,
        #[serde(default)]
        timeouts_ms: BTreeMap<String, u32>,
    }

    #[test]
    fn a_wrong_setting_is_named_in_plain_words() {
        let refused = |text: &str| to_configured(text, Ok::<Settings, _>, |_| Vec::new()).err().expect("refused");
        for (text, told) in [
            (r#"{"status": -1}"#, "status: invalid value: integer `-1`, expected a whole number from 0 to 65535"),
            (r#"{"status": "no"}"#, "status: invalid type: string \"no\", expected a whole number from 0 to 65535"),
            (
                r#"{"timeouts_ms": {"catalog": 5000000000}}"#,
                "timeouts_ms.catalog: invalid value: integer `5000000000`, expected a whole number from 0 to 4294967295",
            ),
            (r#"{"timeouts_ms": 7}"#, "timeouts_ms: invalid type: integer `7`, expected a table"),
            (r#"{"stats": 1}"#, "stats: unknown field `stats`, expected `status` or `timeouts_ms`"),
            ("7", "invalid type: integer `7`, expected a table"),
        ] {
            assert_eq!(refused(text), told);
        }
        assert!(refused("{} {}").starts_with("trailing"));
        assert!(to_configured(r#"{"status": 7}"#, Ok::<Settings, _>, |_| Vec::new()).is_ok());
    }
}
