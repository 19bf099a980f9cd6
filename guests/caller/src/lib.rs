//! Who a verified token's owner is to Backstage: member of which workspaces, with which roles, under which entity names.
//!
//! Shared by the authorizers of this folder, so that the same token is the same Backstage user whichever of them is bound.

pub mod entity;
pub mod membership;

use orbit_policy_sdk::{AuthorizeDecision, AuthorizeRequest, allow, claim, deny};
use serde::{Deserialize, Serialize};

/// Groups beyond this many are left out: a token is no place for more, and they travel with every request.
pub const MAX_GROUPS: usize = 100;

/// Which claims say who the caller is. As settings, each may be missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// `{"<workspace>": ["<role>"]}`, or a list of workspaces.
    pub workspaces_claim: String,
    /// A text.
    pub user_claim: String,
    /// A list of texts.
    pub groups_claim: String,
    /// Backstage namespace of users and groups.
    pub namespace: String,
}

/// A member of the request's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the Backstage user.
    pub user: String,
    /// Names of its Backstage groups, at most [`MAX_GROUPS`].
    pub groups: Vec<String>,
    /// In the request's workspace.
    pub roles: Vec<String>,
}

// === impl Names ===

impl Default for Names {
    fn default() -> Self {
        Self {
            workspaces_claim: "workspaces".into(),
            user_claim: "sub".into(),
            groups_claim: "groups".into(),
            namespace: "default".into(),
        }
    }
}

impl Names {
    /// Refuses names that can't be; the sentence is for the operator.
    pub fn check(&self) -> Result<(), String> {
        for (key, name) in [
            ("workspaces_claim", &self.workspaces_claim),
            ("user_claim", &self.user_claim),
            ("groups_claim", &self.groups_claim),
        ] {
            if name.is_empty() {
                return Err(format!("{key} is empty: it must name a claim of the token"));
            }
        }
        if !entity::is_name(&self.namespace) {
            return Err(format!("namespace is {:?}, which is no Backstage namespace", self.namespace));
        }
        Ok(())
    }

    /// The inputs to declare.
    pub fn inputs(&self) -> Vec<String> {
        [&self.workspaces_claim, &self.user_claim, &self.groups_claim].map(|claim| format!("claim:{claim}")).into()
    }

    /// The caller, or why nobody comes in: who is no member of the workspace is no caller of it, whatever else a policy says.
    pub fn caller(&self, request: &AuthorizeRequest) -> Result<Caller, AuthorizeDecision> {
        let text = |name: &str| claim(&request.claims, name);
        let roles = text(&self.workspaces_claim).and_then(|json| membership::roles_in(json, &request.workspace));
        let Some(roles) = roles else {
            return Err(deny(403, format!("you are not a member of workspace {}", request.workspace)));
        };
        let user = text(&self.user_claim).and_then(|json| serde_json::from_str::<String>(json).ok());
        let Some(user) = user.filter(|user| !user.is_empty()) else {
            return Err(deny(403, format!("your token has no text claim {}", self.user_claim)));
        };
        let groups: Vec<String> =
            text(&self.groups_claim).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let groups = groups.iter().filter(|group| !group.is_empty()).take(MAX_GROUPS);
        Ok(Caller { user: entity::name(&user), groups: groups.map(|group| entity::name(group)).collect(), roles })
    }

    /// Lets the caller in.
    pub fn allow(&self, caller: &Caller) -> AuthorizeDecision {
        let reference = |kind: &str, name: &str| format!("{kind}:{}/{name}", self.namespace);
        allow(reference("user", &caller.user), caller.groups.iter().map(|group| reference("group", group)).collect())
    }
}
