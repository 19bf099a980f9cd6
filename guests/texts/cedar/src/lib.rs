//! `cedar`: an authorizer whose settings are a Cedar text, for authors who write no code.
//!
//! The text is parsed and validated against the schema of orbitd's requests once, when the policy is loaded: a misspelt
//! attribute or an impossible condition is refused then, with line and column. A decision reads the policies in a packed form,
//! and of those only what can apply to its request.
//!
//! A `forbid` says why by `@reason("…")`. See docs/languages.md.

mod ask;
mod entity;
mod packed;
mod schema;
mod scope;
mod text;
mod tree;

use std::collections::BTreeMap;

use orbit_caller::Caller;
use orbit_policy_sdk::{About, AuthorizeRequest};
use orbit_text::{Compiled, Language, Verdict};
use serde::{Deserialize, Serialize};

use crate::{packed::Packed, schema::Kind};

/// See `settings.json`.
#[derive(Deserialize)]
pub struct Settings {
    #[serde(default)]
    claims: BTreeMap<String, Kind>,
    #[serde(default)]
    headers: Vec<String>,
}

/// What each decision gets.
#[derive(Serialize, Deserialize)]
pub struct Program {
    /// In the order of the text.
    policies: Vec<Packed>,
    claims: BTreeMap<String, Kind>,
    headers: Vec<String>,
}

/// The language.
pub struct Cedar;

impl Language for Cedar {
    const ABOUT: About = About {
        name: "cedar",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &["method", "path", "query"],
        settings_schema: include_str!("settings.json"),
    };
    type Settings = Settings;
    type Program = Program;

    fn compile(text: &str, settings: Settings) -> Result<Compiled<Program>, String> {
        let Settings { claims, headers } = settings;
        let policies = text::parse(text, schema::of(&claims, &headers)?)?;
        let names = claims.keys().map(|name| format!("claim:{name}"));
        let inputs = names.chain(headers.iter().map(|name| format!("header:{name}"))).collect();
        Ok(Compiled { program: Program { policies, claims, headers }, inputs })
    }

    fn decide(program: &Program, request: &AuthorizeRequest, caller: &Caller) -> Result<Verdict, String> {
        ask::decide(program, request, caller)
    }
}

orbit_policy_sdk::export_authorizer!(orbit_text::TextPolicy<Cedar>);

#[cfg(test)]
mod tests;
