//! A case with everything that the file's top fills in, and the question that it is.

use http::HeaderMap;
use orbit_engine::{AuthorizerRequest, Inputs, RendererRequest, RouterRequest};
use serde_json::{Map, Value};

use crate::{
    ids::{PluginId, Slug, TierName},
    policy::{
        RenderInput, RequestFacts,
        set::{borrowed, claim_texts, declared_headers, router_request},
    },
};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// As in the file.
    pub name: String,
    /// JSON text; `None` where neither case nor file has any.
    pub settings: Option<String>,
    pub(super) workspace: Slug,
    /// `None`: the tier that runs the case.
    pub(super) tier: Option<TierName>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) plugin: Option<PluginId>,
    pub(super) claims: Map<String, Value>,
    pub(super) public_url: String,
    pub(super) app_config: Map<String, Value>,
    pub(super) plugins: Option<Vec<PluginId>>,
    /// One key: what must come out.
    pub(super) expect: Value,
}

impl Case {
    /// Whether a decision is what it expects, and not a refusal of settings or a failure.
    pub fn expects_a_decision(&self) -> bool {
        self.expect.as_object().is_some_and(|map| !map.contains_key("fail") && !map.contains_key("refuse_settings"))
    }

    /// The request, if it is about one.
    pub(super) fn facts<'a>(&'a self, tier: &'a TierName) -> RequestFacts<'a> {
        RequestFacts {
            workspace: &self.workspace,
            tier: self.tier.as_ref().unwrap_or(tier),
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
        }
    }

    /// The config, if it is about one.
    pub(super) fn config<'a>(&'a self, tier: &'a TierName) -> RenderInput<'a> {
        RenderInput {
            workspace: &self.workspace,
            tier: self.tier.as_ref().unwrap_or(tier),
            public_url: &self.public_url,
            app_config: &self.app_config,
            plugins: self.plugins.as_deref(),
        }
    }

    /// As the engine is asked, narrowed to what a router declared.
    pub(in crate::policy) fn as_router_request<R>(
        &self,
        inputs: &Inputs,
        tier: &TierName,
        with: impl FnOnce(RouterRequest<'_>) -> R,
    ) -> R {
        let facts = self.facts(tier);
        let headers = declared_headers(inputs, &facts);
        let headers = borrowed(&headers);
        with(router_request(&facts, &headers))
    }

    /// As the engine is asked, narrowed to what an authorizer declared.
    pub(in crate::policy) fn as_authorizer_request<R>(
        &self,
        inputs: &Inputs,
        tier: &TierName,
        with: impl FnOnce(AuthorizerRequest<'_>) -> R,
    ) -> R {
        let texts = claim_texts(inputs, &self.claims);
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let plugin = self.plugin.as_ref().map_or("", PluginId::as_str);
        self.as_router_request(inputs, tier, |request| with(AuthorizerRequest { request, plugin, claims: &texts }))
    }

    /// As the engine is asked.
    pub(in crate::policy) fn as_renderer_request<R>(
        &self,
        tier: &TierName,
        with: impl FnOnce(RendererRequest<'_>) -> R,
    ) -> R {
        let input = self.config(tier);
        let app_config = Value::Object(self.app_config.clone()).to_string();
        let plugins: Option<Vec<&str>> = input.plugins.map(|plugins| plugins.iter().map(PluginId::as_str).collect());
        with(RendererRequest {
            workspace: input.workspace.as_str(),
            tier: input.tier.as_str(),
            public_url: input.public_url,
            app_config: &app_config,
            plugins: plugins.as_deref(),
        })
    }
}
