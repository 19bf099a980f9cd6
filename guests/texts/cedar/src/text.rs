//! From a Cedar text to what decisions read.

use cedar_policy_core::{
    ast::PolicySet,
    parser::{Loc, parse_policyset},
    validator::{ValidationMode, Validator, ValidatorSchema},
};
use miette::Diagnostic;

use crate::{entity::Types, packed::Packed};

/// Parses, validates and packs. The error is one sentence with line and column.
pub fn parse(text: &str, schema: ValidatorSchema) -> Result<Vec<Packed>, String> {
    let policies: PolicySet = parse_policyset(text).map_err(|errors| {
        errors.iter().next().map_or_else(|| format!("policy: {errors}"), |first| in_policy(text, first))
    })?;
    if policies.templates().next().is_some() {
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
    let mut policies: Vec<_> = policies.policies().collect();
    let start = |loc: Option<&Loc>| loc.map_or(0, Loc::start);
    policies.sort_by_key(|policy| start(policy.loc()));
    let types = Types::new()?;
    let mut packed = Vec::new();
    for policy in policies {
        let (line, column) = place(text, start(policy.loc()));
        let refused = |error| format!("policy, line {line}, column {column}: {error}");
        packed.push(Packed::of(policy, (line, column), &types).map_err(refused)?);
    }
    Ok(packed)
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

/// Both from 1; a column is a character. A text has at most 512 KiB.
fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}
