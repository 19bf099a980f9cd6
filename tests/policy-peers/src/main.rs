//! `policy-peers [MILLISECONDS]`: p50 of one decision over a request with 20 headers, in microseconds, as one JSON object. The question is
//! the one of `guests/headers`: no header says `no`, and `x-header-7` says `let me in`. Each peer is given the request as it
//! came, 20 pairs of text, as a policy in a sandbox is: turning them into what the peer evaluates is part of a decision.

use std::{
    error::Error,
    hint::black_box,
    str::FromStr,
    time::{Duration, Instant},
};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, RestrictedExpression};
use regorus::{Engine, Value};

const REGO: &str = r#"
package authz
default allow := false
refused if { some name; input.headers[name] == "no" }
allow if { input.headers["x-header-7"] == "let me in"; not refused }
"#;

/// Cedar has no loop over attributes: a condition for each header.
fn cedar_text() -> String {
    let says_no: Vec<String> = (0..20).map(|n| format!("context[\"x-header-{n}\"] == \"no\"")).collect();
    format!(
        "permit(principal, action, resource) when {{ context[\"x-header-7\"] == \"let me in\" }};\n\
         forbid(principal, action, resource) when {{ {} }};",
        says_no.join(" || ")
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let span = std::env::args().nth(1).map_or(Ok(300), |text| text.parse())?;
    let span = Duration::from_millis(span);
    let names: Vec<String> = (0..20).map(|n| format!("x-header-{n}")).collect();
    let value = |n: usize| if n == 7 { "let me in" } else { "a value of a usual length, say" };
    let headers: Vec<(&str, &str)> = names.iter().enumerate().map(|(n, name)| (name.as_str(), value(n))).collect();

    let closure = |headers: &[(&str, &str)]| {
        !headers.iter().any(|(_, value)| *value == "no")
            && headers.iter().any(|(name, value)| *name == "x-header-7" && *value == "let me in")
    };
    let native = p50(span, || closure(black_box(&headers)))?;

    let mut engine = Engine::new();
    engine.add_policy("authz.rego".to_owned(), REGO.to_owned())?;
    let rego = p50(span, || {
        let mut pairs = Value::new_object();
        if let Ok(object) = pairs.as_object_mut() {
            object.extend(headers.iter().map(|(name, value)| (Value::from(*name), Value::from(*value))));
        }
        let mut input = Value::new_object();
        if let Ok(object) = input.as_object_mut() {
            object.insert(Value::from("headers"), pairs);
        }
        engine.set_input(input);
        engine.eval_rule("data.authz.allow".to_owned()).is_ok_and(|answer| answer == Value::from(true))
    })?;

    let policies = PolicySet::from_str(&cedar_text())?;
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    let (user, action, workspace) = (
        EntityUid::from_str("User::\"alice\"")?,
        EntityUid::from_str("Action::\"request\"")?,
        EntityUid::from_str("Workspace::\"acme\"")?,
    );
    let cedar = p50(span, || {
        let pairs = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), RestrictedExpression::new_string((*value).to_owned())));
        let Ok(context) = Context::from_pairs(pairs) else { return false };
        let Ok(request) = Request::new(user.clone(), action.clone(), workspace.clone(), context, None) else {
            return false;
        };
        authorizer.is_authorized(&request, &policies, &entities).decision() == Decision::Allow
    })?;

    println!("{}", serde_json::json!({ "native_us": native, "regorus_us": rego, "cedar_us": cedar }));
    Ok(())
}

/// Asks for `span` and again, after as many calls to warm up; the answer must be "yes".
fn p50(span: Duration, mut decide: impl FnMut() -> bool) -> Result<f64, Box<dyn Error>> {
    if !decide() {
        return Err("a peer does not allow what the policy allows".into());
    }
    let mut times = Vec::new();
    // A closure takes less than the clock's own step: several calls a look.
    let mut batch = 1_u32;
    for measured in [false, true] {
        times.clear();
        let began = Instant::now();
        while began.elapsed() < span {
            let before = Instant::now();
            for _ in 0..batch {
                black_box(decide());
            }
            times.push(before.elapsed().as_nanos() as f64 / 1e3 / f64::from(batch));
        }
        times.sort_by(f64::total_cmp);
        if !measured && times[times.len() / 2] < 1.0 {
            batch = 100;
        }
    }
    Ok(times[times.len() / 2])
}
