//! A request as Cedar sees it: `User` does `Action` on `Plugin`.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression as Expr,
};
use orbit_caller::Caller;
use orbit_policy_sdk::{AuthorizeRequest, claim, header};

use crate::{
    Prepared,
    schema::{Kind, OTHER, READS, WRITES},
};

/// What a request without a plugin is for: the browser app's files, which Backstage's `app` plugin serves.
const APP: &str = "app";

/// What the text came to.
pub enum Verdict {
    /// A `permit` and no `forbid`.
    Allowed,
    /// With the `@reason` of a `forbid`, if it has one.
    Denied {
        /// One sentence.
        reason: Option<String>,
    },
}

/// Asks the text. An error in a policy is a failure: Cedar would skip the policy, and a skipped `forbid` lets somebody in.
pub fn decide(prepared: &Prepared, request: &AuthorizeRequest, caller: &Caller) -> Result<Verdict, String> {
    let policies = PolicySet::from_json_str(&prepared.policies).map_err(|error| error.to_string())?;
    let user = uid("User", &caller.user)?;
    let plugin = uid("Plugin", if request.plugin.is_empty() { APP } else { &request.plugin })?;
    let (action, group) = action(&request.method);
    let action = uid("Action", action)?;
    let entities = entities(prepared, request, caller, &user, &plugin, &action, group)?;
    let asked = Request::new(user, action, plugin, context(prepared, request)?, None).map_err(|e| e.to_string())?;
    let answer = Authorizer::new().is_authorized(&asked, &policies, &entities);
    if let Some(error) = answer.diagnostics().errors().next() {
        return Err(error.to_string());
    }
    match answer.decision() {
        Decision::Allow => Ok(Verdict::Allowed),
        Decision::Deny => {
            let mut reasons: Vec<&str> =
                answer.diagnostics().reason().filter_map(|id| policies.annotation(id, "reason")).collect();
            // A set: the same sentence for the same request.
            reasons.sort_unstable();
            Ok(Verdict::Denied { reason: reasons.first().map(|reason| (*reason).to_owned()) })
        }
    }
}

fn action(method: &str) -> (&str, &'static str) {
    match method {
        read if READS.contains(&read) => (read, "read"),
        write if WRITES.contains(&write) => (write, "write"),
        _ => (OTHER, "write"),
    }
}

fn entities(
    prepared: &Prepared,
    request: &AuthorizeRequest,
    caller: &Caller,
    user: &EntityUid,
    plugin: &EntityUid,
    action: &EntityUid,
    group: &str,
) -> Result<Entities, String> {
    let (workspace, tier) = (uid("Workspace", &request.workspace)?, uid("Tier", &request.tier)?);
    let mut parents = HashSet::new();
    for (kind, names) in [("Group", &caller.groups), ("Role", &caller.roles)] {
        for name in names {
            parents.insert(uid(kind, name)?);
        }
    }
    let mut attributes = HashMap::new();
    for (name, kind) in &prepared.claims {
        // Missing or of another type: not there, which the text has to ask for (`principal has …`).
        if let Some(value) = claim(&request.claims, name).and_then(|json| value(json, *kind)) {
            attributes.insert(name.clone(), value);
        }
    }
    let list = [
        Entity::new(user.clone(), attributes, parents).map_err(|error| error.to_string())?,
        Entity::new_no_attrs(plugin.clone(), HashSet::from([workspace.clone()])),
        Entity::new_no_attrs(workspace, HashSet::from([tier])),
        Entity::new_no_attrs(action.clone(), HashSet::from([uid("Action", group)?])),
    ];
    Entities::from_entities(list, None).map_err(|error| error.to_string())
}

fn context(prepared: &Prepared, request: &AuthorizeRequest) -> Result<Context, String> {
    let headers = prepared.headers.iter().filter_map(|name| {
        header(&request.headers, name).map(|value| (name.clone(), Expr::new_string(value.to_owned())))
    });
    let headers = Expr::new_record(headers).map_err(|error| error.to_string())?;
    Context::from_pairs([
        ("path".to_owned(), Expr::new_string(request.path.clone())),
        ("query".to_owned(), Expr::new_string(request.query.clone())),
        ("headers".to_owned(), headers),
    ])
    .map_err(|error| error.to_string())
}

fn value(json: &str, kind: Kind) -> Option<Expr> {
    match kind {
        Kind::String => serde_json::from_str(json).ok().map(Expr::new_string),
        Kind::Long => serde_json::from_str(json).ok().map(Expr::new_long),
        Kind::Bool => serde_json::from_str(json).ok().map(Expr::new_bool),
        Kind::Strings => {
            let texts: Vec<String> = serde_json::from_str(json).ok()?;
            Some(Expr::new_set(texts.into_iter().map(Expr::new_string)))
        }
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}
