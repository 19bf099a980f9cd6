//! `rego`: an authorizer whose settings are a Rego text, for authors who write no code.
//!
//! The text is compiled to regorus bytecode once, when the policy is loaded; a decision decodes that and runs it. A caller who
//! is no member of the workspace is denied before the text is asked: no text can open a workspace to strangers.
//!
//! The text's package has a rule `allow`; `deny` may be a set of sentences, of which one is enough. See docs/policies.md.

mod input;
mod program;

use orbit_caller::Names;
use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, PreparingAuthorizer, deny};
use serde::{Deserialize, Serialize};

use crate::program::Program;

/// Of a sentence that a caller reads.
const MAX_REASON_CHARS: usize = 500;

/// See `settings.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    policy: String,
    #[serde(default)]
    data: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "default_inputs")]
    inputs: Vec<String>,
    #[serde(default = "default_refusal")]
    refusal: String,
    workspaces_claim: Option<String>,
    user_claim: Option<String>,
    groups_claim: Option<String>,
    namespace: Option<String>,
}

/// What each decision gets.
#[derive(Serialize, Deserialize)]
pub struct Prepared {
    program: Program,
    inputs: Vec<String>,
    refusal: String,
    names: Names,
}

/// The policy.
pub struct Rego;

impl PreparingAuthorizer for Rego {
    type Settings = Settings;
    type Prepared = Prepared;
    const ABOUT: About = About {
        name: "rego",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &[],
        settings_schema: include_str!("settings.json"),
    };

    fn prepare(settings: Settings) -> Result<Prepared, String> {
        let usual = Names::default();
        let names = Names {
            workspaces_claim: settings.workspaces_claim.unwrap_or(usual.workspaces_claim),
            user_claim: settings.user_claim.unwrap_or(usual.user_claim),
            groups_claim: settings.groups_claim.unwrap_or(usual.groups_claim),
            namespace: settings.namespace.unwrap_or(usual.namespace),
        };
        names.check()?;
        let program = Program::compile(&settings.policy, &settings.data)?;
        Ok(Prepared { program, inputs: settings.inputs, refusal: settings.refusal, names })
    }

    fn inputs(prepared: &Prepared) -> Vec<String> {
        prepared.names.inputs().into_iter().chain(prepared.inputs.iter().cloned()).collect()
    }

    fn authorize(prepared: Prepared, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        let caller = match prepared.names.caller(&request) {
            Ok(caller) => caller,
            Err(denied) => return Ok(denied),
        };
        let verdict = prepared.program.run(input::of(&request, &caller))?;
        if let Some(reason) = verdict.denied {
            return Ok(deny(403, sentence(&reason)));
        }
        if verdict.allowed {
            return Ok(prepared.names.allow(&caller));
        }
        let refusal = prepared.refusal.replace("{workspace}", &request.workspace).replace("{plugin}", &request.plugin);
        Ok(deny(403, sentence(&refusal)))
    }
}

orbit_policy_sdk::export_authorizer!(Rego);

fn default_inputs() -> Vec<String> {
    ["method", "path"].map(String::from).into()
}

fn default_refusal() -> String {
    "the policy of workspace {workspace} does not allow this".into()
}

fn sentence(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
