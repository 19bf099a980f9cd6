//! Runs cases against a compiled module.

use std::{collections::HashMap, time::Duration};

use orbit_engine::{Compiled, Compiler, Limits, LoadError, World};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Case, Difference, file::CaseFile, matching::compare};
use crate::{
    ids::TierName,
    policy::{ask, single::Single},
};

/// What is tested.
pub struct Subject<'a> {
    /// Where it was compiled.
    pub compiler: &'a Compiler,
    /// The module.
    pub compiled: &'a Compiled,
    /// Bound as this.
    pub world: World,
    /// JSON text, for cases that bring no settings.
    pub settings: &'a str,
    /// What one call may use.
    pub limits: Limits,
    /// For cases that name no tier.
    pub tier: &'a TierName,
}

/// What all cases of a file came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the file's order.
    pub cases: Vec<CaseResult>,
}

/// What one case came to.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// As in the file.
    pub name: String,
    /// No difference.
    pub passed: bool,
    /// Where the answer is not as expected.
    pub differences: Vec<Difference>,
    /// The whole answer.
    pub got: Value,
    /// What the policy was passed; absent where it was not asked.
    pub saw: Value,
    /// Wall time of the decision.
    #[serde(rename = "took_us", serialize_with = "as_micros")]
    pub took: Duration,
}

fn as_micros<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_nanos() as f64 / 1e3 * 10.0).round() / 10.0)
}

impl Report {
    /// Cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseResult> {
        self.cases.iter().filter(|case| !case.passed)
    }
}

impl CaseResult {
    /// What is wrong, on one line.
    pub fn complaint(&self) -> String {
        let one = |d: &Difference| format!("{}: expected {}, got {}", d.at, d.expected, d.got);
        self.differences.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// Runs every case, each decision in a fresh sandbox on this thread.
///
/// # Errors
/// The file asks for what can't be (its mistakes are found when it is read).
pub fn run(subject: &Subject<'_>, file: &CaseFile) -> Result<Report, String> {
    let mut loaded: HashMap<String, Result<Single, LoadError>> = HashMap::new();
    let mut report = Report::default();
    for case in file.cases()? {
        let settings = case.settings.clone().unwrap_or_else(|| subject.settings.to_owned());
        let policy = loaded.entry(settings).or_insert_with_key(|settings| {
            Single::load(subject.compiler, subject.compiled, subject.world, settings, subject.limits)
        });
        let (saw, got, took) = match policy {
            Ok(policy) => ask_case(policy, &case, subject.tier),
            Err(LoadError::Settings(reason)) => (Value::Null, json!({"refuse_settings": reason}), Duration::ZERO),
            Err(error) => {
                (Value::Null, json!({"fail": {"kind": "load", "message": error.to_string()}}), Duration::ZERO)
            }
        };
        let differences = judge(&case.expect, &got);
        report.cases.push(CaseResult { name: case.name, passed: differences.is_empty(), differences, got, saw, took });
    }
    Ok(report)
}

/// Another kind of answer is one difference, with the whole of what was said: not a list of keys that are missing.
fn judge(expected: &Value, got: &Value) -> Vec<Difference> {
    let kind = |value: &Value| value.as_object().and_then(|map| map.keys().next().cloned()).unwrap_or_default();
    let (wanted, said) = (kind(expected), kind(got));
    if wanted == said {
        return compare(expected, got);
    }
    vec![Difference { at: "answer".into(), expected: wanted, got: format!("{said} {}", got[&said]) }]
}

fn ask_case(policy: &Single, case: &Case, tier: &TierName) -> (Value, Value, Duration) {
    let facts = case.facts(tier);
    let (saw, got, took) = match policy {
        Single::Router(policy) => {
            let asked = ask::request(policy, &facts, None);
            let got = asked.json(ask::routing_json);
            (asked.saw, got, asked.took)
        }
        Single::Authorizer(policy) => {
            let asked = ask::request(policy, &facts, Some(case.caller()));
            let got = asked.json(ask::authorization_json);
            (asked.saw, got, asked.took)
        }
        Single::Renderer(policy) => {
            let asked = ask::render(policy, &case.config(tier));
            let got = asked.json(ask::rendered_json);
            (asked.saw, got, asked.took)
        }
    };
    (Value::Object(saw), got, took)
}

#[cfg(test)]
mod tests {
    use orbit_engine::{Isolation, Runtime};

    use super::*;
    use crate::policy::{Class, testing};

    fn results(module: &[u8], world: World, cases: &str) -> Vec<(bool, String)> {
        let compiler =
            Compiler::new(Runtime::start().expect("an engine"), Isolation::InProcess, None).expect("a compiler");
        let compiled = compiler.compile(module).expect("compiled");
        let tier = "free".parse().expect("a tier");
        let subject = Subject {
            compiler: &compiler,
            compiled: &compiled,
            world,
            settings: "{}",
            limits: Class::Policy.default_limits(world),
            tier: &tier,
        };
        let report = run(&subject, &CaseFile::parse(cases).expect("cases")).expect("run");
        report.cases.iter().map(|case| (case.passed, case.complaint())).collect()
    }

    #[test]
    fn a_case_passes_or_says_what_came_instead() {
        let cases = "[[case]]\nname = \"a\"\nexpect.refuse = { status = 404, reason = \"one\" }\n\
                     [[case]]\nname = \"b\"\nexpect.refuse.reason = { contains = \"two\" }\n\
                     [[case]]\nname = \"c\"\nexpect.forward = {}\n";
        let results = results(&testing::router(404, "one"), World::Router, cases);
        assert_eq!(results[0], (true, String::new()));
        assert_eq!(results[1], (false, "refuse.reason: expected text that contains \"two\", got \"one\"".into()));
        assert_eq!(results[2], (false, r#"answer: expected forward, got refuse {"status":404,"reason":"one"}"#.into()));
    }

    #[test]
    fn every_world_has_cases_and_a_broken_contract_is_a_failure() {
        let allow = "[[case]]\nname = \"a\"\nexpect.allow = { user = \"user:default/alice\" }\n";
        assert!(results(&testing::authorizer("user:default/alice"), World::Authorizer, allow)[0].0);
        let render = "[[case]]\nname = \"a\"\nexpect.render.app_config.app = {}\n";
        assert!(results(&testing::renderer(r#"{"app":{}}"#), World::Renderer, render)[0].0);
        let fail = "[[case]]\nname = \"a\"\nexpect.fail = { kind = \"contract\", message = { contains = \"200\" } }\n";
        assert!(results(&testing::router(200, "fine"), World::Router, fail)[0].0);
    }
}
