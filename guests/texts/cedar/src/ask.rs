//! A request as Cedar sees it: `User` does `Action` on `Plugin`.

use std::collections::HashSet;

use cedar_policy_core::{
    ast::{Context, Effect, Entity, EntityUIDEntry, Request, RestrictedExpr},
    entities::{Entities, NoEntitiesSchema, TCComputation},
    evaluator::Evaluator,
    extensions::Extensions,
    pst::SmolStr,
};
use orbit_caller::Caller;
use orbit_policy_sdk::{AuthorizeRequest, claim, header};
use orbit_text::Verdict;

use crate::{
    Program,
    entity::{Type, Types, Uid},
    schema::{Kind, OTHER, READS, WRITES},
    scope::{Asked, Member},
};

/// What a request without a plugin is for: the browser app's files, which Backstage's `app` plugin serves.
const APP: &str = "app";

/// Asks the text: who is permitted and not forbidden may. An error in a policy is a failure: Cedar's own way skips the policy, and a
/// skipped `forbid` lets somebody in.
pub fn decide(program: &Program, request: &AuthorizeRequest, caller: &Caller) -> Result<Verdict, String> {
    let types = Types::new()?;
    let (asked, question, entities) = question(program, request, caller, &types)?;
    let evaluator = Evaluator::new(question, &entities, Extensions::none());
    let (mut permitted, mut forbidden) = (false, Vec::new());
    // What can't apply is not even unpacked.
    for packed in program.policies.iter().filter(|packed| packed.scope.holds(&asked)) {
        let policy = packed.cedar(&types)?;
        let (line, column) = packed.place;
        let failed = |error| format!("policy, line {line}, column {column}: {error}");
        match (evaluator.evaluate(&policy).map_err(failed)?, policy.effect()) {
            (true, Effect::Permit) => permitted = true,
            (true, Effect::Forbid) => forbidden.push(packed.reason.as_deref()),
            (false, _) => {}
        }
    }
    if forbidden.is_empty() && permitted {
        return Ok(Verdict::Allowed);
    }
    // The first that has one, in the order of the text.
    Ok(Verdict::Denied { reason: forbidden.into_iter().flatten().next().map(str::to_owned) })
}

/// What Cedar is asked: for the heads of policies, and for Cedar.
pub fn question(
    program: &Program,
    request: &AuthorizeRequest,
    caller: &Caller,
    types: &Types,
) -> Result<(Asked, Request, Entities), String> {
    let asked = asked(request, caller);
    let entry = |member: &Member| EntityUIDEntry::known(types.uid(&member.uid), None);
    let (principal, action, resource) = (entry(&asked.principal), entry(&asked.action), entry(&asked.resource));
    let question = Request::new_unchecked(principal, action, resource, Some(context(program, request)?));
    let entities = entities(program, request, &asked, types)?;
    Ok((asked, question, entities))
}

fn asked(request: &AuthorizeRequest, caller: &Caller) -> Asked {
    let named = |of: Type| move |name: &String| Uid::new(of, name.as_str());
    let (action, group) = action(&request.method);
    let plugin = if request.plugin.is_empty() { APP } else { &request.plugin };
    let (groups, roles) = (caller.groups.iter().map(named(Type::Group)), caller.roles.iter().map(named(Type::Role)));
    Asked {
        principal: Member { uid: Uid::new(Type::User, caller.user.as_str()), within: groups.chain(roles).collect() },
        action: Member { uid: Uid::new(Type::Action, action), within: vec![Uid::new(Type::Action, group)] },
        resource: Member {
            uid: Uid::new(Type::Plugin, plugin),
            within: vec![
                Uid::new(Type::Workspace, request.workspace.as_str()),
                Uid::new(Type::Tier, request.tier.as_str()),
            ],
        },
    }
}

fn action(method: &str) -> (&str, &'static str) {
    match method {
        read if READS.contains(&read) => (read, "read"),
        write if WRITES.contains(&write) => (write, "write"),
        _ => (OTHER, "write"),
    }
}

/// Those of the request, and the workspace, which a condition can name beside its plugin.
fn entities(program: &Program, request: &AuthorizeRequest, asked: &Asked, types: &Types) -> Result<Entities, String> {
    let mut attributes = Vec::new();
    for (name, kind) in &program.claims {
        // Missing or of another type: not there, which the text has to ask for (`principal has …`).
        if let Some(value) = claim(&request.claims, name).and_then(|json| value(json, *kind)) {
            attributes.push((SmolStr::from(name), value));
        }
    }
    let entity = |uid: &Uid, within: &[Uid], attributes: Vec<(SmolStr, RestrictedExpr)>| {
        let within: HashSet<_> = within.iter().map(|uid| types.uid(uid)).collect();
        Entity::new(types.uid(uid), attributes, HashSet::new(), within, [], Extensions::none())
            .map_err(|error| error.to_string())
    };
    let Asked { principal, action, resource } = asked;
    let list = [
        entity(&principal.uid, &principal.within, attributes)?,
        entity(&action.uid, &action.within, Vec::new())?,
        entity(&resource.uid, &resource.within, Vec::new())?,
        entity(
            &Uid::new(Type::Workspace, request.workspace.as_str()),
            &[Uid::new(Type::Tier, request.tier.as_str())],
            Vec::new(),
        )?,
    ];
    // A member names all that it is in, directly or not.
    let closed = TCComputation::AssumeAlreadyComputed;
    Entities::from_entities(list, None::<&NoEntitiesSchema>, closed, Extensions::none())
        .map_err(|error| error.to_string())
}

fn context(program: &Program, request: &AuthorizeRequest) -> Result<Context, String> {
    let text = |text: &str| RestrictedExpr::val(text);
    let headers = program
        .headers
        .iter()
        .filter_map(|name| header(&request.headers, name).map(|value| (SmolStr::from(name), text(value))));
    let headers = RestrictedExpr::record(headers).map_err(|error| error.to_string())?;
    let fields = [
        (SmolStr::new_static("path"), text(&request.path)),
        (SmolStr::new_static("query"), text(&request.query)),
        (SmolStr::new_static("headers"), headers),
    ];
    Context::from_pairs(fields, Extensions::none()).map_err(|error| error.to_string())
}

fn value(json: &str, kind: Kind) -> Option<RestrictedExpr> {
    match kind {
        Kind::String => serde_json::from_str::<String>(json).ok().map(RestrictedExpr::val),
        Kind::Long => serde_json::from_str::<i64>(json).ok().map(RestrictedExpr::val),
        Kind::Bool => serde_json::from_str::<bool>(json).ok().map(RestrictedExpr::val),
        Kind::Strings => {
            let texts: Vec<String> = serde_json::from_str(json).ok()?;
            Some(RestrictedExpr::set(texts.into_iter().map(RestrictedExpr::val)))
        }
    }
}
