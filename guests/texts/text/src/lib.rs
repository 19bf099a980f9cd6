//! What policies share whose settings are a text in a policy language: who the caller is, and what a refusal says.
//!
//! A caller who is no member of the workspace is denied before the text is asked: no text can open a workspace to strangers.

#[cfg(not(target_family = "wasm"))]
pub mod trial;

use std::marker::PhantomData;

use orbit_caller::{Caller, Names};
use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, PreparingAuthorizer, deny};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Of a sentence that a caller reads.
const MAX_REASON_CHARS: usize = 500;

/// A policy language. [`TextPolicy`] makes an authorizer of it.
pub trait Language {
    /// What the policy is; its schema has [`Settings`]' properties and the language's own.
    const ABOUT: About;
    /// Settings beside those of [`Settings`]. Without `deny_unknown_fields`: an unknown one is refused all the same.
    type Settings: DeserializeOwned;
    /// What the text becomes when it is loaded; each decision gets it. At most 1 MiB when packed.
    type Program: Serialize + DeserializeOwned;

    /// Makes the one of the other. The error is one sentence, with line and column where the text is at fault.
    fn compile(text: &str, settings: Self::Settings) -> Result<Compiled<Self::Program>, String>;

    /// Asks the text. An `Err` is a failure of the text, not a denial: 503.
    fn decide(program: &Self::Program, request: &AuthorizeRequest, caller: &Caller) -> Result<Verdict, String>;
}

/// A text that was understood.
pub struct Compiled<P> {
    /// For the decisions.
    pub program: P,
    /// What they depend on beside the caller and `ABOUT.inputs`.
    pub inputs: Vec<String>,
}

/// What a text came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The caller may.
    Allowed,
    /// The caller may not.
    Denied {
        /// One sentence, if the text has one for this.
        reason: Option<String>,
    },
}

/// What every policy of this kind can be told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings<S> {
    policy: String,
    #[serde(default = "default_refusal")]
    refusal: String,
    #[serde(flatten)]
    names: Names,
    #[serde(flatten)]
    own: S,
}

/// What each decision gets.
#[derive(Serialize, Deserialize)]
pub struct Prepared<P> {
    program: P,
    refusal: String,
    names: Names,
    /// Asked for once, at load: it does not travel.
    #[serde(skip)]
    inputs: Vec<String>,
}

/// The authorizer of a language.
pub struct TextPolicy<L>(PhantomData<L>);

impl<L: Language> PreparingAuthorizer for TextPolicy<L> {
    type Settings = Settings<L::Settings>;
    type Prepared = Prepared<L::Program>;
    const ABOUT: About = L::ABOUT;

    fn prepare(settings: Self::Settings) -> Result<Self::Prepared, String> {
        let Settings { policy, refusal, names, own } = settings;
        names.check()?;
        let Compiled { program, inputs } = L::compile(&policy, own)?;
        Ok(Prepared { program, refusal, names, inputs })
    }

    fn inputs(prepared: &Self::Prepared) -> Vec<String> {
        prepared.names.inputs().into_iter().chain(prepared.inputs.iter().cloned()).collect()
    }

    fn authorize(prepared: Self::Prepared, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        let caller = match prepared.names.caller(&request) {
            Ok(caller) => caller,
            Err(denied) => return Ok(denied),
        };
        match L::decide(&prepared.program, &request, &caller)? {
            Verdict::Allowed => Ok(prepared.names.allow(&caller)),
            Verdict::Denied { reason } => {
                let reason = reason.unwrap_or_else(|| {
                    prepared.refusal.replace("{workspace}", &request.workspace).replace("{plugin}", &request.plugin)
                });
                Ok(deny(403, sentence(&reason)))
            }
        }
    }
}

fn default_refusal() -> String {
    "the policy of workspace {workspace} does not allow this".into()
}

fn sentence(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
