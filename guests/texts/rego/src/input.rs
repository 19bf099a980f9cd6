//! What a Rego text sees as `input`.

use std::collections::BTreeMap;

use orbit_caller::Caller;
use orbit_policy_sdk::{AuthorizeRequest, Pair};
use regorus::{Rc, Value};

/// `{workspace, tier, plugin, method, path, query, headers: {name: [value]}, claims: {name: …}, user, groups, roles}`.
/// `user` and `groups` are names of Backstage entities, `roles` the caller's roles in this workspace.
pub fn of(request: &AuthorizeRequest, caller: &Caller) -> Value {
    let text = |text: &str| Value::from(text);
    let list = |texts: &[String]| Value::from(texts.iter().map(|one| Value::from(one.as_str())).collect::<Vec<_>>());
    object([
        ("workspace", text(&request.workspace)),
        ("tier", text(&request.tier)),
        ("plugin", text(&request.plugin)),
        ("method", text(&request.method)),
        ("path", text(&request.path)),
        ("query", text(&request.query)),
        ("headers", headers(&request.headers)),
        ("claims", claims(&request.claims)),
        ("user", text(&caller.user)),
        ("groups", list(&caller.groups)),
        ("roles", list(&caller.roles)),
    ])
}

/// A name may stand more than once: a list of values for each.
fn headers(pairs: &[Pair]) -> Value {
    let mut by_name: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for pair in pairs {
        by_name.entry(&pair.name).or_default().push(Value::from(pair.value.as_str()));
    }
    object(by_name.into_iter().map(|(name, values)| (name, Value::from(values))))
}

/// The host has verified the token and passes JSON; what is none all the same is left out.
fn claims(pairs: &[Pair]) -> Value {
    object(pairs.iter().filter_map(|pair| Some((pair.name.as_str(), Value::from_json_str(&pair.value).ok()?))))
}

fn object<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(Rc::new(pairs.into_iter().map(|(name, value)| (Value::from(name), value)).collect()))
}
