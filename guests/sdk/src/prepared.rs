//! Settings on their way from JSON, at load, to each decision.

use serde::{Serialize, de::DeserializeOwned};

use crate::worlds::Configured;

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
    let settings = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let prepared = prepare(settings)?;
    let bytes = postcard::to_allocvec(&prepared).map_err(|_| "the settings can't be packed".to_string())?;
    Ok(Configured { inputs: inputs(&prepared), settings: bytes })
}

/// Unpacks what [`to_configured`] packed.
pub fn from_bytes<P: DeserializeOwned>(bytes: &[u8]) -> Result<P, String> {
    postcard::from_bytes(bytes).map_err(|_| "the prepared settings are of another version of this policy".to_string())
}
