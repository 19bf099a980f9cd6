//! A configured policy of each world, ready to decide.

mod about;
mod asked;
mod decide;
mod inputs;

use std::{sync::Arc, time::Duration};

use wasmtime::component::InstancePre;

use crate::{
    CallError, Compiled, Compiler, Limits, LoadError, Slots, Turn, World,
    bindings::{self, authorizer, renderer, router},
    sandbox::{Sandboxes, State},
};

pub use about::About;
pub use asked::{
    AuthorizerDecision, AuthorizerRequest, RenderedConfig, RendererRequest, RouterDecision, RouterRequest,
};
pub use inputs::Inputs;

const MAX_SCHEMA_BYTES: usize = 256 << 10;
const MAX_PREPARED_BYTES: usize = 1 << 20;
/// Sentences from a guest that reach an operator.
const MAX_SENTENCE: usize = 500;
/// What the two calls at load may take, whatever the binding says of decisions.
const LOAD_BUDGET: Duration = Duration::from_millis(1000);
const LOAD_RESULT_BYTES: usize = 2 << 20;
/// At least, for `configure`: to understand a text takes more than to decide by it. `describe` has the binding's memory, so a module
/// that could not even start in that is refused.
const CONFIGURE_MEMORY_BYTES: usize = 64 << 20;

/// What a binding gives a module to make it a policy.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// A JSON object as text.
    pub settings: &'a str,
    /// What one call may use.
    pub limits: Limits,
    /// The share of the sandboxes that it draws from: one for all policies of a tier.
    pub slots: Arc<Slots>,
}

/// A configured router.
pub type Router = Policy<router::RouterPre<State>>;
/// A configured authorizer.
pub type Authorizer = Policy<authorizer::AuthorizerPre<State>>;
/// A configured renderer.
pub type Renderer = Policy<renderer::RendererPre<State>>;

/// A policy with its settings and limits. Share it by `Arc`; compiled code goes with its last user.
pub struct Policy<P> {
    sandboxes: Sandboxes,
    pre: P,
    about: About,
    inputs: Inputs,
    settings: Vec<u8>,
}

// === impl Policy ===

impl<P> Policy<P> {
    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }
    /// What it must be passed.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
    /// A place among its tier's sandboxes for one decision: at once while one is free, else in the order of coming, for a second or
    /// the binding's budget, whichever is longer. Cancel safe. Waiting needs tokio's clock.
    ///
    /// # Errors
    /// [`crate::CallErrorKind::Unavailable`]: no place came free in time, or thousands wait already.
    pub async fn turn(&self) -> Result<Turn<'_>, CallError> {
        self.sandboxes.turn().await
    }
}

fn load<P: bindings::World + Sync>(
    compiler: &Compiler,
    compiled: &Compiled,
    world: World,
    terms: Terms<'_>,
) -> Result<Policy<P>, LoadError> {
    let (pre, said, about) = described::<P>(compiler, compiled, world, &terms)?;
    let sandboxes = Sandboxes::new(compiler.runtime().clone(), terms.limits, terms.slots);
    let limits = at_load(terms.limits);
    let limits = Limits { memory_bytes: limits.memory_bytes.max(CONFIGURE_MEMORY_BYTES), ..limits };
    let configured = sandboxes
        .ask(&limits, |store| pre.configure(store, terms.settings))
        .map_err(|error| LoadError::Call { call: "configure", error })?
        .map_err(|reason| LoadError::Settings(sentence(&reason)))?;
    if configured.settings.len() > MAX_PREPARED_BYTES {
        return Err(LoadError::Description(format!(
            "its prepared settings are longer than {MAX_PREPARED_BYTES} bytes"
        )));
    }
    let inputs = Inputs::parse(said.inputs.iter().chain(&configured.inputs), world)?;
    Ok(Policy { sandboxes, pre, about, inputs, settings: configured.settings })
}

/// What a module says of itself, before it sees any settings.
///
/// # Errors
/// It is of another world, or its description breaks the contract.
pub fn describe(compiler: &Compiler, compiled: &Compiled, world: World, terms: &Terms<'_>) -> Result<About, LoadError> {
    Ok(match world {
        World::Router => described::<router::RouterPre<State>>(compiler, compiled, world, terms)?.2,
        World::Authorizer => described::<authorizer::AuthorizerPre<State>>(compiler, compiled, world, terms)?.2,
        World::Renderer => described::<renderer::RendererPre<State>>(compiler, compiled, world, terms)?.2,
    })
}

fn described<P: bindings::World + Sync>(
    compiler: &Compiler,
    compiled: &Compiled,
    world: World,
    terms: &Terms<'_>,
) -> Result<(P, bindings::Described, About), LoadError> {
    world.check(&compiled.exports)?;
    let runtime = compiler.runtime().clone();
    let mismatch = |error: wasmtime::Error| {
        LoadError::World(format!("it does not have the functions of a {}: {error:#}", world.name()))
    };
    let pre: InstancePre<State> = runtime.linker.instantiate_pre(&compiled.component).map_err(mismatch)?;
    let pre = P::new(pre).map_err(mismatch)?;
    let said = Sandboxes::new(runtime, terms.limits, terms.slots.clone())
        .ask(&at_load(terms.limits), |store| pre.describe(store))
        .map_err(|error| LoadError::Call { call: "describe", error })?;
    if said.settings_schema.len() > MAX_SCHEMA_BYTES {
        return Err(LoadError::Description(format!("its settings schema is longer than {MAX_SCHEMA_BYTES} bytes")));
    }
    let about =
        About { name: said.name.clone(), version: said.version.clone(), settings_schema: said.settings_schema.clone() };
    about.check()?;
    Ok((pre, said, about))
}

/// The two calls at load have their own budget.
fn at_load(limits: Limits) -> Limits {
    Limits { budget: LOAD_BUDGET, result_bytes: LOAD_RESULT_BYTES, ..limits }
}

/// A guest's text for a log line: short, on one line.
fn sentence(text: &str) -> String {
    text.chars().take(MAX_SENTENCE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
