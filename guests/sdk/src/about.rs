//! What a policy says of itself.

use crate::worlds::Description;

/// What a policy says of itself, once, when it is loaded.
pub struct About {
    /// `[a-z][a-z0-9-]{0,39}`.
    pub name: &'static str,
    /// The policy's own version; `env!("CARGO_PKG_VERSION")` is a good one.
    pub version: &'static str,
    /// What a decision depends on whatever the settings: `method`, `path`, `query`, `header:<lower-case name>`,
    /// `claim:<name>`. The host passes nothing else. Inputs that only some settings need: override `inputs`.
    pub inputs: &'static [&'static str],
    /// A JSON schema of the settings object; empty where there are no settings.
    pub settings_schema: &'static str,
}

impl About {
    #[doc(hidden)]
    pub fn description(&self) -> Description {
        Description {
            name: self.name.into(),
            version: self.version.into(),
            inputs: self.inputs.iter().map(|input| (*input).into()).collect(),
            settings_schema: self.settings_schema.into(),
        }
    }
}
