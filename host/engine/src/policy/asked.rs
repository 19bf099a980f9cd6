//! What a policy is asked and what it answers, without the generated types.

/// What a router is asked. Parts that it did not declare are not passed on.
#[derive(Debug, Clone, Copy)]
pub struct RouterRequest<'a> {
    /// Slug.
    pub workspace: &'a str,
    /// Tier name.
    pub tier: &'a str,
    /// `GET`…
    pub method: &'a str,
    /// Starts with `/`.
    pub path: &'a str,
    /// Without `?`.
    pub query: &'a str,
    /// Only those of [`Inputs::headers`].
    pub headers: &'a [(&'a str, &'a str)],
}

/// What an authorizer is asked.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizerRequest<'a> {
    /// The request.
    pub request: RouterRequest<'a>,
    /// What the router said that it is for; empty for the browser app.
    pub plugin: &'a str,
    /// Only those of [`Inputs::claims`]: name and JSON text.
    pub claims: &'a [(&'a str, &'a str)],
}

/// What a renderer is asked.
#[derive(Debug, Clone, Copy)]
pub struct RendererRequest<'a> {
    /// Slug.
    pub workspace: &'a str,
    /// Tier name.
    pub tier: &'a str,
    /// Where the workspace is reached.
    pub public_url: &'a str,
    /// A JSON object as text.
    pub app_config: &'a str,
    /// What the workspace chose.
    pub plugins: Option<&'a [&'a str]>,
}

/// A router's answer; nothing in it is checked yet but its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterDecision {
    /// Send it on.
    Forward {
        /// Empty for the browser app.
        plugin: String,
        /// 0 is the host's default.
        timeout_ms: u32,
    },
    /// Answer with an error.
    Refuse {
        /// 400–599, by contract.
        status: u16,
        /// A sentence.
        reason: String,
    },
}

/// An authorizer's answer; nothing in it is checked yet but its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerDecision {
    /// Let it through.
    Allow {
        /// Entity reference.
        user: String,
        /// Entity references.
        ownership: Vec<String>,
    },
    /// Answer with an error.
    Deny {
        /// 400–599, by contract.
        status: u16,
        /// A sentence.
        reason: String,
    },
}

/// A renderer's answer; nothing in it is checked yet but its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedConfig {
    /// JSON text, by contract.
    pub app_config: String,
    /// Plugin ids, by contract.
    pub plugins: Vec<String>,
    /// Sentences.
    pub notices: Vec<String>,
}
