//! `rego`: an authorizer whose settings are a Rego text, for authors who write no code.
//!
//! The text is compiled to regorus bytecode once, when the policy is loaded; a decision decodes that and runs it.
//!
//! The text's package has a rule `allow`; `deny` may be a set of sentences, of which one is enough. See docs/languages.md.

mod input;
mod program;

use orbit_caller::Caller;
use orbit_policy_sdk::{About, AuthorizeRequest};
use orbit_text::{Compiled, Language, Verdict};
use serde::Deserialize;

use crate::program::Program;

/// See `settings.json`.
#[derive(Deserialize)]
pub struct Settings {
    #[serde(default)]
    data: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "default_inputs")]
    inputs: Vec<String>,
}

/// The language.
pub struct Rego;

impl Language for Rego {
    const ABOUT: About = About {
        name: "rego",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &[],
        settings_schema: include_str!("settings.json"),
    };
    type Settings = Settings;
    type Program = Program;

    fn compile(text: &str, settings: Settings) -> Result<Compiled<Program>, String> {
        Ok(Compiled { program: Program::compile(text, &settings.data)?, inputs: settings.inputs })
    }

    fn decide(program: &Program, request: &AuthorizeRequest, caller: &Caller) -> Result<Verdict, String> {
        program.run(input::of(request, caller))
    }
}

orbit_policy_sdk::export_authorizer!(orbit_text::TextPolicy<Rego>);

fn default_inputs() -> Vec<String> {
    ["method", "path"].map(String::from).into()
}

#[cfg(test)]
mod tests;
