//! The claim that says which workspaces a caller belongs to.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Workspaces {
    Roles(BTreeMap<String, Vec<String>>),
    Members(Vec<String>),
}

/// The caller's roles in `workspace`; `None` where the claim does not name it, or can't be read: no membership is ever guessed.
pub fn roles_in(json: &str, workspace: &str) -> Option<Vec<String>> {
    match serde_json::from_str(json).ok()? {
        Workspaces::Roles(mut roles) => roles.remove(workspace),
        Workspaces::Members(members) => members.iter().any(|member| member == workspace).then(Vec::new),
    }
}
