//! A case with everything that the file's top fills in, and the question that it is.

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::{
    ids::{PluginId, Slug, TierName},
    policy::{RenderInput, RequestFacts, view::Caller},
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
    pub(in crate::policy) fn facts<'a>(&'a self, tier: &'a TierName) -> RequestFacts<'a> {
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
    pub(in crate::policy) fn config<'a>(&'a self, tier: &'a TierName) -> RenderInput<'a> {
        RenderInput {
            workspace: &self.workspace,
            tier: self.tier.as_ref().unwrap_or(tier),
            public_url: &self.public_url,
            app_config: &self.app_config,
            plugins: self.plugins.as_deref(),
        }
    }

    /// The caller, for an authorizer.
    pub(in crate::policy) fn caller(&self) -> Caller<'_> {
        Caller { plugin: self.plugin.as_ref().map_or("", PluginId::as_str), claims: &self.claims }
    }
}
