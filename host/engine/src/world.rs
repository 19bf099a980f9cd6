//! The three worlds and how a component shows which one it was built for.

use crate::LoadError;

/// Versions of `orbit:policy` that this host speaks, major and minor, oldest first. Semver: a component built against any
/// patch of one of these works. Each has its frozen copy in `wit/released/`.
pub const SPOKEN_VERSIONS: &[&str] = &["1.0"];

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
                return check_version(export, version);
            }
            others.extend(Self::ALL.into_iter().find(|world| world.interface() == interface));
        }
        if others.is_empty() {
            return Err(LoadError::World(format!(
                "this is no policy: it exports {}, {} exports {}@{}.0",
                listed(exports),
                self.with_article(),
                self.interface(),
                newest()
            )));
        }
        Err(LoadError::world(&others, self))
    }

    /// The world that a component with these export names was built for.
    ///
    /// # Errors
    /// None of ours, several of them, or a version that this host does not speak.
    pub fn of(exports: &[String]) -> Result<Self, LoadError> {
        let world_of = |export: &String| {
            let interface = export.split('@').next().unwrap_or_default();
            Self::ALL.into_iter().find(|world| world.interface() == interface)
        };
        let mut found: Vec<Self> = exports.iter().filter_map(world_of).collect();
        found.dedup();
        match found[..] {
            [world] => world.check(exports).map(|()| world),
            [] => Err(LoadError::World(format!(
                "this is no policy: it exports {}; a policy exports one of {}, each @{}.0",
                listed(exports),
                Self::ALL.map(Self::interface).join(", "),
                newest()
            ))),
            _ => Err(LoadError::World(format!(
                "it exports {}: a policy is of one world, build one module for each",
                listed(exports)
            ))),
        }
    }
}

fn check_version(export: &str, version: &str) -> Result<(), LoadError> {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _patch)| minor);
    if SPOKEN_VERSIONS.contains(&minor) {
        return Ok(());
    }
    let built =
        if version.is_empty() { "without a version".to_owned() } else { format!("against orbit:policy {minor}") };
    Err(LoadError::World(format!(
        "it is built {built} (it exports {export}), this host speaks {}: build it with the wit/ files of this orbitd \
         (`orbitd policy new` writes them)",
        SPOKEN_VERSIONS.join(" and ")
    )))
}

fn newest() -> &'static str {
    SPOKEN_VERSIONS.last().copied().unwrap_or_default()
}

fn listed(exports: &[String]) -> String {
    if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
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
        let newer = error(World::Router, &["orbit:policy/routing@2.0.0"]);
        assert!(newer.contains("built against orbit:policy 2.0") && newer.contains("this host speaks 1.0:"), "{newer}");
        assert!(error(World::Router, &["orbit:policy/routing@1.00.0"]).contains("1.00"));
        assert!(error(World::Router, &["orbit:policy/routing"]).contains("without a version"));
        assert!(error(World::Router, &["wasi:cli/run@0.2.0"]).contains("this is no policy"));
        for patch in ["1.0.0", "1.0.7"] {
            assert!(World::Router.check(&[format!("orbit:policy/routing@{patch}")]).is_ok());
        }
    }

    #[test]
    fn a_components_world_is_seen_by_its_exports() {
        let of = |exports: &[&str]| {
            let exports: Vec<String> = exports.iter().map(|export| (*export).to_owned()).collect();
            World::of(&exports).map_err(|error| error.to_string())
        };
        assert_eq!(of(&["other:x/y@1.0.0", "orbit:policy/rendering@1.0.0"]), Ok(World::Renderer));
        assert!(of(&["orbit:policy/rendering@3.1.0"]).expect_err("too new").contains("orbit:policy 3.1"));
        assert!(of(&[]).expect_err("none").contains("it exports nothing; a policy exports one of"));
        let two = of(&["orbit:policy/rendering@1.0.0", "orbit:policy/routing@1.0.0"]);
        assert!(two.expect_err("two").contains("one world"));
    }
}
