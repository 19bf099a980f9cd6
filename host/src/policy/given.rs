//! A request as a person writes it down: in a case file, or for `explain`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// Headers by name, in any case; a name that is sent more than once has a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GivenHeaders(BTreeMap<String, Values>);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl GivenHeaders {
    /// One more value of a header.
    pub fn add(&mut self, name: &str, value: &str) {
        let values = self.0.entry(name.to_ascii_lowercase()).or_insert_with(|| Values::Many(Vec::new()));
        match values {
            Values::Many(values) => values.push(value.to_owned()),
            Values::One(first) => *values = Values::Many(vec![std::mem::take(first), value.to_owned()]),
        }
    }

    /// These, where `over` names none of the same name.
    pub fn under(&self, over: &Self) -> Self {
        let lower = |headers: &Self| {
            headers
                .0
                .iter()
                .map(|(name, values)| (name.to_ascii_lowercase(), values.clone()))
                .collect::<BTreeMap<_, _>>()
        };
        let mut all = lower(self);
        all.extend(lower(over));
        Self(all)
    }

    /// As a request has them.
    ///
    /// # Errors
    /// Which name or value can't be a header's.
    pub fn to_map(&self) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for (name, values) in &self.0 {
            let wrong = |what: &str| format!("headers.{name}: this is no {what}");
            let header: HeaderName = name.to_ascii_lowercase().parse().map_err(|_| wrong("header name"))?;
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Many(values) => values,
            };
            for value in values {
                map.append(header.clone(), HeaderValue::from_str(value).map_err(|_| wrong("header value"))?);
            }
        }
        Ok(map)
    }
}
