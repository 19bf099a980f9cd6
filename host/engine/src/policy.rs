//! A configured policy of each world, ready to decide.

use std::sync::Arc;

use wasmtime::component::InstancePre;

use crate::{
    CallError, CallErrorKind, Compiled, Compiler, Limits, LoadError, Runtime, World,
    bindings::{self, authorizer, renderer, router},
    sandbox::{self, State},
};

const MAX_INPUTS: usize = 64;
const MAX_SCHEMA_BYTES: usize = 256 << 10;
const MAX_PREPARED_BYTES: usize = 1 << 20;
/// Sentences from a guest that reach an operator.
const MAX_SENTENCE: usize = 500;
/// What the two calls at load may take, whatever the binding says of decisions.
const LOAD_BUDGET: std::time::Duration = std::time::Duration::from_millis(1000);
const LOAD_RESULT_BYTES: usize = 2 << 20;

/// What a policy says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// `[a-z][a-z0-9-]{0,39}`.
    pub name: String,
    /// The policy's own version.
    pub version: String,
    /// JSON schema of its settings; empty where there are none.
    pub settings_schema: String,
}

/// What a decision depends on. The host passes nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The request's method.
    pub method: bool,
    /// Its path.
    pub path: bool,
    /// Its query.
    pub query: bool,
    /// Headers by lower-case name, sorted, each once.
    pub headers: Vec<String>,
    /// Top-level claims, sorted, each once.
    pub claims: Vec<String>,
}

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

/// A configured router.
pub type Router = Policy<router::RouterPre<State>>;
/// A configured authorizer.
pub type Authorizer = Policy<authorizer::AuthorizerPre<State>>;
/// A configured renderer.
pub type Renderer = Policy<renderer::RendererPre<State>>;

/// A policy with its settings and limits. Share it by `Arc`; compiled code goes with its last user.
pub struct Policy<P> {
    runtime: Arc<Runtime>,
    pre: P,
    about: About,
    inputs: Inputs,
    settings: Vec<u8>,
    limits: Limits,
}

// === impl Policy ===

impl<P> Policy<P> {
    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }
    /// What it must be passed.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

fn load<P: bindings::World>(
    compiler: &Compiler,
    compiled: &Compiled,
    world: World,
    settings: &str,
    limits: Limits,
) -> Result<Policy<P>, LoadError> {
    world.check(&compiled.exports)?;
    let runtime = compiler.runtime().clone();
    let mismatch = |error: wasmtime::Error| {
        LoadError::World(format!("it does not have the functions of a {}: {error:#}", world.name()))
    };
    let pre: InstancePre<State> = runtime.linker.instantiate_pre(&compiled.component).map_err(mismatch)?;
    let pre = P::new(pre).map_err(mismatch)?;
    let at_load = Limits { budget: LOAD_BUDGET, result_bytes: LOAD_RESULT_BYTES, ..limits };
    let said = sandbox::run(&runtime, &at_load, |store| pre.describe(store))
        .map_err(|error| LoadError::Call { call: "describe", error })?;
    if said.settings_schema.len() > MAX_SCHEMA_BYTES {
        return Err(LoadError::Description(format!("its settings schema is longer than {MAX_SCHEMA_BYTES} bytes")));
    }
    let about = About { name: said.name, version: said.version, settings_schema: said.settings_schema };
    about.check()?;
    let configured = sandbox::run(&runtime, &at_load, |store| pre.configure(store, settings))
        .map_err(|error| LoadError::Call { call: "configure", error })?
        .map_err(|reason| LoadError::Settings(sentence(&reason)))?;
    if configured.settings.len() > MAX_PREPARED_BYTES {
        return Err(LoadError::Description(format!(
            "its prepared settings are longer than {MAX_PREPARED_BYTES} bytes"
        )));
    }
    let inputs = Inputs::parse(said.inputs.iter().chain(&configured.inputs), world)?;
    Ok(Policy { runtime, pre, about, inputs, settings: configured.settings, limits })
}

impl Router {
    /// Binds a compiled module as a router.
    pub fn load(compiler: &Compiler, compiled: &Compiled, settings: &str, limits: Limits) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Router, settings, limits)
    }

    /// Asks it, in a fresh sandbox, on this thread.
    pub fn route(&self, asked: &RouterRequest<'_>) -> Result<RouterDecision, CallError> {
        use router::{
            exports::orbit::policy::routing::{Decision, Request},
            orbit::policy::types::PairParam,
        };
        let headers: Vec<PairParam<'_>> =
            asked.headers.iter().map(|&(name, value)| PairParam { name, value }).collect();
        let request = Request {
            workspace: asked.workspace,
            tier: asked.tier,
            method: only_if(self.inputs.method, asked.method),
            path: only_if(self.inputs.path, asked.path),
            query: only_if(self.inputs.query, asked.query),
            headers: &headers,
            extra: &[],
        };
        let answer = sandbox::run(&self.runtime, &self.limits, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            guest.orbit_policy_routing().call_route(store, &self.settings, request)
        })?;
        match answer.map_err(|reason| CallError::new(CallErrorKind::Error, sentence(&reason)))? {
            Decision::Forward(to) => Ok(RouterDecision::Forward { plugin: to.plugin, timeout_ms: to.timeout_ms }),
            Decision::Refuse(why) => Ok(RouterDecision::Refuse { status: why.status, reason: why.reason }),
        }
    }
}

impl Authorizer {
    /// Binds a compiled module as an authorizer.
    pub fn load(compiler: &Compiler, compiled: &Compiled, settings: &str, limits: Limits) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Authorizer, settings, limits)
    }

    /// Asks it, in a fresh sandbox, on this thread.
    pub fn authorize<'a>(&self, asked: &AuthorizerRequest<'a>) -> Result<AuthorizerDecision, CallError> {
        use authorizer::{
            exports::orbit::policy::authorization::{Decision, Request},
            orbit::policy::types::PairParam,
        };
        let pairs = |pairs: &[(&'a str, &'a str)]| -> Vec<PairParam<'a>> {
            pairs.iter().map(|&(name, value)| PairParam { name, value }).collect()
        };
        let (headers, claims) = (pairs(asked.request.headers), pairs(asked.claims));
        let request = Request {
            workspace: asked.request.workspace,
            tier: asked.request.tier,
            plugin: asked.plugin,
            method: only_if(self.inputs.method, asked.request.method),
            path: only_if(self.inputs.path, asked.request.path),
            query: only_if(self.inputs.query, asked.request.query),
            headers: &headers,
            claims: &claims,
            extra: &[],
        };
        let answer = sandbox::run(&self.runtime, &self.limits, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            guest.orbit_policy_authorization().call_authorize(store, &self.settings, request)
        })?;
        match answer.map_err(|reason| CallError::new(CallErrorKind::Error, sentence(&reason)))? {
            Decision::Allow(allow) => Ok(AuthorizerDecision::Allow { user: allow.user, ownership: allow.ownership }),
            Decision::Deny(why) => Ok(AuthorizerDecision::Deny { status: why.status, reason: why.reason }),
        }
    }
}

impl Renderer {
    /// Binds a compiled module as a renderer.
    pub fn load(compiler: &Compiler, compiled: &Compiled, settings: &str, limits: Limits) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Renderer, settings, limits)
    }

    /// Asks it, in a fresh sandbox, on this thread.
    pub fn render(&self, asked: &RendererRequest<'_>) -> Result<RenderedConfig, CallError> {
        use renderer::exports::orbit::policy::rendering::Request;
        let request = Request {
            workspace: asked.workspace.to_owned(),
            tier: asked.tier.to_owned(),
            public_url: asked.public_url.to_owned(),
            app_config: asked.app_config.to_owned(),
            plugins: asked.plugins.map(|plugins| plugins.iter().map(|&plugin| plugin.to_owned()).collect()),
            extra: Vec::new(),
        };
        let answer = sandbox::run(&self.runtime, &self.limits, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            guest.orbit_policy_rendering().call_render(store, &self.settings, &request)
        })?;
        let rendered = answer.map_err(|reason| CallError::new(CallErrorKind::Error, sentence(&reason)))?;
        Ok(RenderedConfig { app_config: rendered.app_config, plugins: rendered.plugins, notices: rendered.notices })
    }
}

// === impl About ===

impl About {
    fn check(&self) -> Result<(), LoadError> {
        let label = |text: &str| {
            text.len() <= 40
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !label(&self.name) {
            return Err(LoadError::Description(format!(
                "its name is {:?}: it must start with a-z and hold at most 40 of a-z, 0-9 and '-'",
                sentence(&self.name)
            )));
        }
        let version = self.version.as_bytes();
        if version.is_empty() || version.len() > 64 || !version.iter().all(u8::is_ascii_graphic) {
            return Err(LoadError::Description(format!("its version is {:?}", sentence(&self.version))));
        }
        Ok(())
    }
}

// === impl Inputs ===

impl Inputs {
    fn parse<'a>(declared: impl Iterator<Item = &'a String>, world: World) -> Result<Self, LoadError> {
        let mut inputs = Self::default();
        for (at, input) in declared.enumerate() {
            if at >= MAX_INPUTS {
                return Err(LoadError::Description(format!("it declares more than {MAX_INPUTS} inputs")));
            }
            let refused = |rule: &str| {
                Err(LoadError::Description(format!("it declares the input {:?}: {rule}", sentence(input))))
            };
            match input.split_once(':') {
                _ if world == World::Renderer => return refused("a renderer gets everything and declares no inputs"),
                None if input == "method" => inputs.method = true,
                None if input == "path" => inputs.path = true,
                None if input == "query" => inputs.query = true,
                Some(("header", name)) if is_header(name) => inputs.headers.push(name.to_owned()),
                Some(("header", _)) => return refused("a header is named in lower case"),
                Some(("claim", name)) if world == World::Authorizer && !name.is_empty() && name.len() <= 128 => {
                    inputs.claims.push(name.to_owned());
                }
                Some(("claim", _)) if world == World::Router => return refused("only an authorizer gets claims"),
                _ => return refused("it is method, path, query, header:<name> or claim:<name>"),
            }
        }
        for list in [&mut inputs.headers, &mut inputs.claims] {
            list.sort();
            list.dedup();
        }
        Ok(inputs)
    }
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

fn only_if(declared: bool, text: &str) -> &str {
    if declared { text } else { "" }
}

/// A guest's text for a log line: short, on one line.
fn sentence(text: &str) -> String {
    text.chars().take(MAX_SENTENCE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(world: World, inputs: &[&str]) -> Result<Inputs, String> {
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
        Inputs::parse(inputs.iter(), world).map_err(|error| error.to_string())
    }

    #[test]
    fn only_declared_inputs_that_exist_are_taken() {
        let inputs = parse(World::Authorizer, &["path", "header:x-b", "header:x-a", "header:x-b", "claim:sub"]);
        let inputs = inputs.expect("good inputs");
        assert!(inputs.path && !inputs.method);
        assert_eq!(inputs.headers, ["x-a", "x-b"]);
        assert_eq!(inputs.claims, ["sub"]);
        for (world, input) in [
            (World::Router, "claim:sub"),
            (World::Router, "body"),
            (World::Router, "header:X-A"),
            (World::Router, "header:"),
            (World::Renderer, "path"),
        ] {
            assert!(parse(world, &[input]).expect_err("refused").contains(input), "{input}");
        }
    }
}
