//! What the bench asks: 20 declared headers, each of them read. Allowed is who sends `x-header-7: let me in`, and no header that says
//! `no`.

use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, Authorizer, allow, deny, header};
use serde::{Deserialize, Serialize};

/// None.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

struct Headers;

impl Authorizer for Headers {
    type Settings = Settings;
    const ABOUT: About = About {
        name: "headers",
        version: env!("CARGO_PKG_VERSION"),
        #[rustfmt::skip]
        inputs: &[
            "header:x-header-0", "header:x-header-1", "header:x-header-2", "header:x-header-3", "header:x-header-4",
            "header:x-header-5", "header:x-header-6", "header:x-header-7", "header:x-header-8", "header:x-header-9",
            "header:x-header-10", "header:x-header-11", "header:x-header-12", "header:x-header-13", "header:x-header-14",
            "header:x-header-15", "header:x-header-16", "header:x-header-17", "header:x-header-18", "header:x-header-19",
        ],
        settings_schema: "",
    };

    fn authorize(_settings: &Settings, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        if request.headers.iter().any(|pair| pair.value == "no") {
            return Ok(deny(403, "a header says no"));
        }
        match header(&request.headers, "x-header-7") {
            Some("let me in") => Ok(allow("user:default/alice", Vec::new())),
            _ => Ok(deny(403, "x-header-7 does not ask to be let in")),
        }
    }
}

orbit_policy_sdk::export_authorizer!(Headers);
