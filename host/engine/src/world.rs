//! The three worlds and how a component shows which one it was built for.

use crate::LoadError;

/// Version of `orbit:policy` that this host speaks.
const VERSION: &str = "1.0.0";

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Where a request goes.
    Router,
    /// Whether the caller may.
    Authorizer,
    /// A workspace's `app-config`.
    Renderer,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Router, Self::Authorizer, Self::Renderer];

    /// As in bindings, metrics and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Authorizer => "authorizer",
            Self::Renderer => "renderer",
        }
    }

    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Router => "a router",
            Self::Authorizer => "an authorizer",
            Self::Renderer => "a renderer",
        }
    }

    /// The exported interface without its version.
    fn interface(self) -> &'static str {
        match self {
            Self::Router => "orbit:policy/routing",
            Self::Authorizer => "orbit:policy/authorization",
            Self::Renderer => "orbit:policy/rendering",
        }
    }

    /// Whether a component with these export names can be bound as this world; the error names what it is instead.
    pub(crate) fn check(self, exports: &[String]) -> Result<(), LoadError> {
        let mut others = Vec::new();
        for export in exports {
            let (interface, version) = export.split_once('@').unwrap_or((export, ""));
            if interface == self.interface() {
                // Semver: a component built against 1.0.x works with this host.
                if version.starts_with("1.0.") {
                    return Ok(());
                }
                return Err(LoadError::World(format!(
                    "it exports {export}, this host speaks {VERSION}: build it with the wit/ folder of this orbitd"
                )));
            }
            others.extend(Self::ALL.into_iter().find(|world| world.interface() == interface));
        }
        if others.is_empty() {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(LoadError::World(format!(
                "this is no policy: it exports {exports}, {} exports {}@{VERSION}",
                self.with_article(),
                self.interface()
            )));
        }
        Err(LoadError::world(&others, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(world: World, exports: &[&str]) -> String {
        let exports: Vec<String> = exports.iter().map(|export| (*export).to_owned()).collect();
        world.check(&exports).expect_err("a wrong world").to_string()
    }

    #[test]
    fn a_wrong_world_is_named() {
        assert_eq!(
            error(World::Router, &["orbit:policy/rendering@1.0.0"]),
            "this is a renderer, the binding asks for a router"
        );
        assert!(
            error(World::Router, &["orbit:policy/routing@2.0.0"]).contains("routing@2.0.0, this host speaks 1.0.0")
        );
        assert!(error(World::Router, &["wasi:cli/run@0.2.0"]).contains("this is no policy"));
        assert!(World::Router.check(&["orbit:policy/routing@1.0.0".to_owned()]).is_ok());
    }
}
