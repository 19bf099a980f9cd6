//! What a decision depends on, as a policy declares it.

use super::sentence;
use crate::{LoadError, World};

const MAX_INPUTS: usize = 64;

/// What a decision depends on. The host passes nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The request's method.
    pub method: bool,
    /// Its path.
    pub path: bool,
    /// Its query.
    pub query: bool,
    /// Headers by lower-case name, sorted, each once.
    pub headers: Vec<String>,
    /// Top-level claims, sorted, each once.
    pub claims: Vec<String>,
}

// === impl Inputs ===

impl Inputs {
    pub(super) fn parse<'a>(declared: impl Iterator<Item = &'a String>, world: World) -> Result<Self, LoadError> {
        let mut inputs = Self::default();
        for (at, input) in declared.enumerate() {
            if at >= MAX_INPUTS {
                return Err(LoadError::Description(format!("it declares more than {MAX_INPUTS} inputs")));
            }
            let refused = |rule: &str| {
                Err(LoadError::Description(format!("it declares the input {:?}: {rule}", sentence(input))))
            };
            match input.split_once(':') {
                _ if world == World::Renderer => return refused("a renderer gets everything and declares no inputs"),
                None if input == "method" => inputs.method = true,
                None if input == "path" => inputs.path = true,
                None if input == "query" => inputs.query = true,
                Some(("header", name)) if is_header(name) => inputs.headers.push(name.to_owned()),
                Some(("header", _)) => return refused("a header is named in lower case"),
                Some(("claim", name)) if world == World::Authorizer && !name.is_empty() && name.len() <= 128 => {
                    inputs.claims.push(name.to_owned());
                }
                Some(("claim", _)) if world == World::Router => return refused("only an authorizer gets claims"),
                _ => return refused("it is method, path, query, header:<name> or claim:<name>"),
            }
        }
        for list in [&mut inputs.headers, &mut inputs.claims] {
            list.sort();
            list.dedup();
        }
        Ok(inputs)
    }
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(world: World, inputs: &[&str]) -> Result<Inputs, String> {
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
        Inputs::parse(inputs.iter(), world).map_err(|error| error.to_string())
    }

    #[test]
    fn only_declared_inputs_that_exist_are_taken() {
        let inputs = parse(World::Authorizer, &["path", "header:x-b", "header:x-a", "header:x-b", "claim:sub"]);
        let inputs = inputs.expect("good inputs");
        assert!(inputs.path && !inputs.method);
        assert_eq!(inputs.headers, ["x-a", "x-b"]);
        assert_eq!(inputs.claims, ["sub"]);
        for (world, input) in [
            (World::Router, "claim:sub"),
            (World::Router, "body"),
            (World::Router, "header:X-A"),
            (World::Router, "header:"),
            (World::Renderer, "path"),
        ] {
            assert!(parse(world, &[input]).expect_err("refused").contains(input), "{input}");
        }
    }
}
