//! What one policy sees of a request: the parts that it declared, and nothing else. It is also what an answer is remembered by.

use std::borrow::Cow;

use orbit_engine::{AuthorizerRequest, Inputs, RouterRequest};
use serde_json::{Map, Value};

use super::{RequestFacts, remembered::Key};

/// A policy's view. Parts that it did not declare are empty.
pub(super) struct View<'a> {
    pub workspace: &'a str,
    pub tier: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: Vec<(&'a str, Cow<'a, str>)>,
    /// Of an authorizer.
    pub plugin: &'a str,
    /// Of an authorizer: name and JSON text.
    pub claims: Vec<(&'a str, Cow<'a, str>)>,
}

/// The same, to keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct OwnedView {
    pub workspace: String,
    pub tier: String,
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub plugin: String,
    pub claims: Vec<(String, String)>,
}

/// What an authorizer learns beside the request.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub plugin: &'a str,
    pub claims: &'a Map<String, Value>,
}

impl<'a> View<'a> {
    /// What `inputs` declare of a request; bytes of headers that are no UTF-8 are replaced, because a policy reads text.
    pub fn of(inputs: &'a Inputs, facts: &RequestFacts<'a>, caller: Option<Caller<'a>>) -> Self {
        let only_if = |declared: bool, part: &'a str| if declared { part } else { "" };
        let mut headers = Vec::new();
        for name in &inputs.headers {
            for value in facts.headers.get_all(name.as_str()) {
                headers.push((name.as_str(), String::from_utf8_lossy(value.as_bytes())));
            }
        }
        let mut claims = Vec::new();
        if let Some(caller) = caller {
            for name in &inputs.claims {
                if let Some(value) = caller.claims.get(name) {
                    claims.push((name.as_str(), Cow::Owned(value.to_string())));
                }
            }
        }
        Self {
            workspace: facts.workspace.as_str(),
            tier: facts.tier.as_str(),
            method: only_if(inputs.method, facts.method),
            path: only_if(inputs.path, facts.path),
            query: only_if(inputs.query, facts.query),
            headers,
            plugin: caller.map_or("", |caller| caller.plugin),
            claims,
        }
    }

    /// What an answer is remembered by: all of it.
    pub fn key(&self) -> Key {
        let mut key = Key::new();
        for part in [self.workspace, self.tier, self.method, self.path, self.query, self.plugin] {
            key.push(part);
        }
        key.push_pairs(&self.headers);
        key.push_pairs(&self.claims);
        key
    }

    /// A copy to keep.
    pub fn to_owned(&self) -> OwnedView {
        let owned = |pairs: &[(&str, Cow<'_, str>)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
        };
        OwnedView {
            workspace: self.workspace.to_owned(),
            tier: self.tier.to_owned(),
            method: self.method.to_owned(),
            path: self.path.to_owned(),
            query: self.query.to_owned(),
            headers: owned(&self.headers),
            plugin: self.plugin.to_owned(),
            claims: owned(&self.claims),
        }
    }

    /// As a router is asked.
    pub fn ask_router<R>(&self, ask: impl FnOnce(&RouterRequest<'_>) -> R) -> R {
        let headers = borrowed(&self.headers);
        ask(&self.request(&headers))
    }

    /// As an authorizer is asked.
    pub fn ask_authorizer<R>(&self, ask: impl FnOnce(&AuthorizerRequest<'_>) -> R) -> R {
        let (headers, claims) = (borrowed(&self.headers), borrowed(&self.claims));
        ask(&AuthorizerRequest { request: self.request(&headers), plugin: self.plugin, claims: &claims })
    }

    fn request<'b>(&'b self, headers: &'b [(&'b str, &'b str)]) -> RouterRequest<'b> {
        RouterRequest {
            workspace: self.workspace,
            tier: self.tier,
            method: self.method,
            path: self.path,
            query: self.query,
            headers,
        }
    }
}

impl OwnedView {
    /// The same, borrowed.
    pub fn view(&self) -> View<'_> {
        fn pairs(pairs: &[(String, String)]) -> Vec<(&str, Cow<'_, str>)> {
            pairs.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str()))).collect()
        }
        View {
            workspace: &self.workspace,
            tier: &self.tier,
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: pairs(&self.headers),
            plugin: &self.plugin,
            claims: pairs(&self.claims),
        }
    }
}

/// `inputs` as a policy declares them: `path`, `header:x`, `claim:y`.
pub(super) fn declared(inputs: &Inputs) -> Vec<String> {
    let parts = [("method", inputs.method), ("path", inputs.path), ("query", inputs.query)];
    let parts = parts.iter().filter(|(_, declared)| *declared).map(|(name, _)| (*name).to_owned());
    let headers = inputs.headers.iter().map(|name| format!("header:{name}"));
    let claims = inputs.claims.iter().map(|name| format!("claim:{name}"));
    parts.chain(headers).chain(claims).collect()
}

fn borrowed<'a>(pairs: &'a [(&'a str, Cow<'a, str>)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().map(|(name, value)| (*name, value.as_ref())).collect()
}
