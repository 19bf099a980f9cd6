//! A Rego text as bytecode.

use std::sync::Arc;

use orbit_text::Verdict;
use regorus::{
    Engine, Value,
    languages::rego::compiler::Compiler,
    rvm::{RegoVM, program::DeserializationResult},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// How the text is called in what regorus says; taken out of its messages again.
const FILE: &str = "policy";
/// Far above what a decision takes; the host's budget of CPU time is what ends a text that runs on.
const MAX_INSTRUCTIONS: usize = 10_000_000;

/// The compiled text and its data.
#[derive(Serialize, Deserialize)]
pub struct Program {
    code: ByteBuf,
    /// JSON; empty where there is none.
    data: String,
    /// Rule paths.
    allow: String,
    deny: Option<String>,
}

impl Program {
    /// Compiles a text. The error is one sentence, with line and column where the text is at fault.
    pub fn compile(text: &str, data: &serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let mut engine = Engine::new();
        let package = engine.add_policy(FILE.into(), text.into()).map_err(|error| in_policy(&error))?;
        let has = |rule: &str| engine.has_declared_rule_rooted_at(FILE, rule).map_err(|error| in_policy(&error));
        let path = |rule: &str| format!("{package}.{rule}");
        if !has("allow")? {
            return Err(format!("policy has no rule `allow`: nobody would be let in (package {package})"));
        }
        let (allow, deny) = (path("allow"), if has("deny")? { Some(path("deny")) } else { None });
        let compiled = engine.compile_with_entrypoint(&allow.as_str().into()).map_err(|error| in_policy(&error))?;
        let rules: Vec<&str> = std::iter::once(&allow).chain(&deny).map(String::as_str).collect();
        let mut program =
            Arc::unwrap_or_clone(Compiler::compile_from_policy(&compiled, &rules).map_err(|error| in_policy(&error))?);
        // Only listings need the text, and it would travel with each decision.
        program.sources.clear();
        program.instruction_spans.clear();
        let code = program.serialize_binary().map_err(|error| format!("policy: {error}"))?;
        let data = if data.is_empty() { String::new() } else { serde_json::to_string(data).unwrap_or_default() };
        let made = Self { code: ByteBuf::from(code), data, allow, deny };
        // Data that contradicts a rule shows here, not at the first request.
        made.machine()?;
        Ok(made)
    }

    /// Runs the rules on an input.
    pub fn run(&self, input: Value) -> Result<Verdict, String> {
        let mut machine = self.machine()?;
        machine.set_input(input);
        let mut ask = |rule: &str| machine.execute_entry_point_by_name(rule).map_err(|error| error.to_string());
        // A sentence of `deny` outweighs `allow`.
        if let Some(rule) = &self.deny
            && let Some(reason) = denial(&ask(rule)?)
        {
            return Ok(Verdict::Denied { reason: Some(reason) });
        }
        Ok(if ask(&self.allow)? == Value::Bool(true) { Verdict::Allowed } else { Verdict::Denied { reason: None } })
    }

    fn machine(&self) -> Result<RegoVM, String> {
        let program = match regorus::rvm::Program::deserialize_binary(&self.code)? {
            DeserializationResult::Complete(program) => program,
            DeserializationResult::Partial(_) => return Err("the compiled policy can't be read back".into()),
        };
        let mut machine = RegoVM::new();
        machine.set_max_instructions(MAX_INSTRUCTIONS);
        machine.load_program(Arc::new(program));
        if !self.data.is_empty() {
            let data = Value::from_json_str(&self.data).map_err(|error| format!("data: {error}"))?;
            machine.set_data(data).map_err(|error| format!("data: {error}"))?;
        }
        Ok(machine)
    }
}

/// The first sentence; something that is no sentence denies too.
fn denial(value: &Value) -> Option<String> {
    let said = |value: &Value| match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    };
    match value {
        Value::Undefined | Value::Null | Value::Bool(false) => None,
        Value::Set(reasons) => reasons.iter().next().map(said),
        Value::Array(reasons) => reasons.iter().next().map(said),
        other => Some(said(other)),
    }
}

/// `line 3, column 7: what` of regorus' picture of the place.
fn in_policy(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let Some(at) = text.split_once("--> ").map(|(_, rest)| rest) else { return format!("policy: {}", text.trim()) };
    let mut place = at.lines().next().unwrap_or_default().rsplit(':');
    let (column, line) = (place.next().unwrap_or_default().trim(), place.next().unwrap_or_default());
    let what = at.split_once("error: ").map_or(at, |(_, what)| what);
    format!("policy, line {line}, column {column}: {}", what.lines().next().unwrap_or_default().trim())
}
