//! The three worlds' calls.

use super::{
    Authorizer, AuthorizerDecision, AuthorizerRequest, RenderedConfig, Renderer, RendererRequest, Router,
    RouterDecision, RouterRequest, Terms, load, sentence,
};
use crate::{
    CallError, CallErrorKind, Compiled, Compiler, LoadError, Turn, World,
    bindings::{authorizer, renderer, router},
};

impl Router {
    /// Binds a compiled module as a router.
    pub fn load(compiler: &Compiler, compiled: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Router, terms)
    }

    /// Asks it, in a fresh sandbox. For tools and work in the background: blocks for its turn, behind all requests of its tier.
    pub fn route(&self, asked: &RouterRequest<'_>) -> Result<RouterDecision, CallError> {
        self.route_in(self.sandboxes.turn_blocking()?, asked)
    }

    /// Asks it, in a fresh sandbox. Blocks for as long as it takes: microseconds, at most the budget.
    pub fn route_in(&self, turn: Turn<'_>, asked: &RouterRequest<'_>) -> Result<RouterDecision, CallError> {
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
        let answer = self.sandboxes.decide(turn, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            store.data_mut().entered();
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
    pub fn load(compiler: &Compiler, compiled: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Authorizer, terms)
    }

    /// Asks it, in a fresh sandbox. For tools and work in the background: blocks for its turn, behind all requests of its tier.
    pub fn authorize(&self, asked: &AuthorizerRequest<'_>) -> Result<AuthorizerDecision, CallError> {
        self.authorize_in(self.sandboxes.turn_blocking()?, asked)
    }

    /// Asks it, in a fresh sandbox. Blocks for as long as it takes: microseconds, at most the budget.
    pub fn authorize_in<'a>(
        &self,
        turn: Turn<'_>,
        asked: &AuthorizerRequest<'a>,
    ) -> Result<AuthorizerDecision, CallError> {
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
        let answer = self.sandboxes.decide(turn, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            store.data_mut().entered();
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
    pub fn load(compiler: &Compiler, compiled: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError> {
        load(compiler, compiled, World::Renderer, terms)
    }

    /// Asks it, in a fresh sandbox. Blocks: for its turn, behind all requests of its tier, and for as long as it takes, which is at
    /// most the budget.
    pub fn render(&self, asked: &RendererRequest<'_>) -> Result<RenderedConfig, CallError> {
        let turn = self.sandboxes.turn_blocking()?;
        use renderer::exports::orbit::policy::rendering::Request;
        let request = Request {
            workspace: asked.workspace.to_owned(),
            tier: asked.tier.to_owned(),
            public_url: asked.public_url.to_owned(),
            app_config: asked.app_config.to_owned(),
            plugins: asked.plugins.map(|plugins| plugins.iter().map(|&plugin| plugin.to_owned()).collect()),
            extra: Vec::new(),
        };
        let answer = self.sandboxes.decide(turn, |store| {
            let guest = self.pre.instantiate(&mut *store)?;
            store.data_mut().entered();
            guest.orbit_policy_rendering().call_render(store, &self.settings, &request)
        })?;
        let rendered = answer.map_err(|reason| CallError::new(CallErrorKind::Error, sentence(&reason)))?;
        Ok(RenderedConfig { app_config: rendered.app_config, plugins: rendered.plugins, notices: rendered.notices })
    }
}

fn only_if(declared: bool, text: &str) -> &str {
    if declared { text } else { "" }
}
