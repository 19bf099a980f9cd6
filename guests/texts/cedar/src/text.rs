//! From a Cedar text to what decisions read.

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

/// Parses, validates, and gives the policies' JSON form. The error is one sentence with line and column.
pub fn parse(text: &str, schema: Schema) -> Result<String, String> {
    let policies: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        errors.iter().next().map_or_else(|| format!("policy: {errors}"), |first| in_policy(text, first))
    })?;
    if policies.num_of_templates() > 0 {
        return Err("policy has a template (`?principal` or `?resource`), which nothing here would fill in".into());
    }
    if policies.is_empty() {
        return Err("policy has no `permit`: nobody would be let in".into());
    }
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    // In the order of the text.
    let first = result.validation_errors().min_by_key(|error| offset(*error));
    if let Some(error) = first {
        return Err(in_policy(text, error));
    }
    let json = policies.to_json().map_err(|error| format!("policy: {error}"))?;
    serde_json::to_string(&json).map_err(|error| format!("policy: {error}"))
}

fn in_policy<E: Diagnostic>(text: &str, error: &E) -> String {
    let what = error.to_string();
    let what = what.lines().next().unwrap_or_default();
    let help = error.help().map(|help| format!(" ({help})")).unwrap_or_default();
    match offset(error) {
        Some(at) => {
            let (line, column) = place(text, at);
            format!("policy, line {line}, column {column}: {what}{help}")
        }
        None => format!("policy: {what}{help}"),
    }
}

fn offset<E: Diagnostic>(error: &E) -> Option<usize> {
    error.labels()?.map(|label| label.offset()).next()
}

/// Both from 1; a column is a character.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
