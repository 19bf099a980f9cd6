//! One module outside any tier: for its author's commands and for test cases.

use std::sync::Arc;

use orbit_engine::{About, Authorizer, Compiled, Compiler, Limits, LoadError, Renderer, Router, Slots, Terms, World};

use super::view::declared;

/// A loaded policy of whichever world.
pub enum Single {
    /// Where a request goes.
    Router(Router),
    /// Whether the caller may.
    Authorizer(Authorizer),
    /// A workspace's `app-config`.
    Renderer(Renderer),
}

impl Single {
    /// Binds a compiled module as `world`.
    ///
    /// # Errors
    /// It is of another world, or refuses the settings, or breaks the contract.
    pub fn load(
        compiler: &Compiler,
        compiled: &Compiled,
        world: World,
        settings: &str,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let terms = Terms { settings, limits, slots: Arc::new(Slots::unshared()) };
        Ok(match world {
            World::Router => Self::Router(Router::load(compiler, compiled, terms)?),
            World::Authorizer => Self::Authorizer(Authorizer::load(compiler, compiled, terms)?),
            World::Renderer => Self::Renderer(Renderer::load(compiler, compiled, terms)?),
        })
    }

    /// What a compiled module says of itself, before it sees any settings.
    ///
    /// # Errors
    /// It is of another world, or its description breaks the contract.
    pub fn describe(
        compiler: &Compiler,
        compiled: &Compiled,
        world: World,
        limits: Limits,
    ) -> Result<About, LoadError> {
        let terms = Terms { settings: "", limits, slots: Arc::new(Slots::unshared()) };
        orbit_engine::describe(compiler, compiled, world, &terms)
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        match self {
            Self::Router(policy) => policy.about(),
            Self::Authorizer(policy) => policy.about(),
            Self::Renderer(policy) => policy.about(),
        }
    }

    /// What it is passed, as it declares them: `path`, `header:x`, `claim:y`.
    pub fn inputs(&self) -> Vec<String> {
        declared(match self {
            Self::Router(policy) => policy.inputs(),
            Self::Authorizer(policy) => policy.inputs(),
            Self::Renderer(policy) => policy.inputs(),
        })
    }
}
