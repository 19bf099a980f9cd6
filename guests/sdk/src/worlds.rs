//! The three worlds as traits.

use serde::{Serialize, de::DeserializeOwned};

#[doc(hidden)]
pub mod router {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "router",
        pub_export_macro: true,
        export_macro_name: "export_router_bindings",
        default_bindings_module: "orbit_policy_sdk::bindings::router",
        generate_all,
    });
}
#[doc(hidden)]
pub mod authorizer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "authorizer",
        pub_export_macro: true,
        export_macro_name: "export_authorizer_bindings",
        default_bindings_module: "orbit_policy_sdk::bindings::authorizer",
        with: { "orbit:policy/types@1.0.0": crate::worlds::router::orbit::policy::types },
    });
}
#[doc(hidden)]
pub mod renderer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "renderer",
        pub_export_macro: true,
        export_macro_name: "export_renderer_bindings",
        default_bindings_module: "orbit_policy_sdk::bindings::renderer",
        with: { "orbit:policy/types@1.0.0": crate::worlds::router::orbit::policy::types },
    });
}

pub use authorizer::exports::orbit::policy::authorization::{
    Allow, Decision as AuthorizeDecision, Request as AuthorizeRequest,
};
pub use renderer::exports::orbit::policy::rendering::{Rendered, Request as RenderRequest};
pub use router::exports::orbit::policy::routing::{Decision as RouteDecision, Forward, Request as RouteRequest};
pub use router::orbit::policy::types::{Configured, Description, Pair, Refusal};

use crate::About;

/// Decides where a request of a workspace goes.
pub trait Router {
    /// The settings object of the binding; `#[serde(deny_unknown_fields)]` makes typing errors visible.
    type Settings: Serialize + DeserializeOwned;
    /// What this policy is.
    const ABOUT: About;
    /// Refuses settings that parse and still make no sense; the sentence reaches the operator.
    fn check(settings: Self::Settings) -> Result<Self::Settings, String> {
        Ok(settings)
    }
    /// Inputs beyond `ABOUT.inputs` that these settings need.
    fn inputs(_settings: &Self::Settings) -> Vec<String> {
        Vec::new()
    }
    /// Decides. An `Err` is a failure of the policy: the client gets 503 and the operator reads the text.
    fn route(settings: &Self::Settings, request: RouteRequest) -> Result<RouteDecision, String>;
}

/// Decides whether a verified caller may make a request, and who the caller is to Backstage.
pub trait Authorizer {
    /// See [`Router::Settings`].
    type Settings: Serialize + DeserializeOwned;
    /// What this policy is.
    const ABOUT: About;
    /// See [`Router::check`].
    fn check(settings: Self::Settings) -> Result<Self::Settings, String> {
        Ok(settings)
    }
    /// See [`Router::inputs`].
    fn inputs(_settings: &Self::Settings) -> Vec<String> {
        Vec::new()
    }
    /// Decides. An `Err` is a failure of the policy, not a denial: 503.
    fn authorize(settings: &Self::Settings, request: AuthorizeRequest) -> Result<AuthorizeDecision, String>;
}

/// An [`Authorizer`] whose settings become something else, once, when the policy is loaded: a text that is compiled, say.
/// Every `Authorizer` is one whose settings stay what they are.
pub trait PreparingAuthorizer {
    /// The settings object of the binding.
    type Settings: DeserializeOwned;
    /// What each decision gets; at most 1 MiB when packed.
    type Prepared: Serialize + DeserializeOwned;
    /// What this policy is.
    const ABOUT: About;
    /// Makes the one of the other; the sentence of an `Err` reaches the operator.
    fn prepare(settings: Self::Settings) -> Result<Self::Prepared, String>;
    /// Inputs beyond `ABOUT.inputs` that these settings need.
    fn inputs(prepared: &Self::Prepared) -> Vec<String>;
    /// See [`Authorizer::authorize`].
    fn authorize(prepared: Self::Prepared, request: AuthorizeRequest) -> Result<AuthorizeDecision, String>;
}

impl<A: Authorizer> PreparingAuthorizer for A {
    type Settings = A::Settings;
    type Prepared = A::Settings;
    const ABOUT: About = A::ABOUT;
    fn prepare(settings: A::Settings) -> Result<A::Settings, String> {
        A::check(settings)
    }
    fn inputs(settings: &A::Settings) -> Vec<String> {
        A::inputs(settings)
    }
    fn authorize(settings: A::Settings, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        A::authorize(&settings, request)
    }
}

/// Makes a workspace's `app-config`.
pub trait Renderer {
    /// See [`Router::Settings`].
    type Settings: Serialize + DeserializeOwned;
    /// What this policy is.
    const ABOUT: About;
    /// See [`Router::check`].
    fn check(settings: Self::Settings) -> Result<Self::Settings, String> {
        Ok(settings)
    }
    /// Renders. An `Err` says what the workspace's operator must change; the last good revision keeps serving.
    fn render(settings: &Self::Settings, request: RenderRequest) -> Result<Rendered, String>;
}

/// Send the request on; `plugin` empty is the browser app, `timeout_ms` 0 is the host's default.
pub fn forward(plugin: impl Into<String>, timeout_ms: u32) -> RouteDecision {
    RouteDecision::Forward(Forward { plugin: plugin.into(), timeout_ms, extra: Vec::new() })
}

/// Answer with an error: 400–599 and one sentence of at most 500 characters.
pub fn refuse(status: u16, reason: impl Into<String>) -> RouteDecision {
    RouteDecision::Refuse(Refusal { status, reason: reason.into() })
}

/// Let the request through as `user` (`user:default/alice`), who owns `ownership`.
pub fn allow(user: impl Into<String>, ownership: Vec<String>) -> AuthorizeDecision {
    AuthorizeDecision::Allow(Allow { user: user.into(), ownership, extra: Vec::new() })
}

/// Answer with an error: 400–599 and one sentence of at most 500 characters.
pub fn deny(status: u16, reason: impl Into<String>) -> AuthorizeDecision {
    AuthorizeDecision::Deny(Refusal { status, reason: reason.into() })
}

/// The first value of a header, by its lower-case name.
pub fn header<'a>(headers: &'a [Pair], name: &str) -> Option<&'a str> {
    headers.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
}

/// The JSON text of a claim.
pub fn claim<'a>(claims: &'a [Pair], name: &str) -> Option<&'a str> {
    header(claims, name)
}

/// Exports a type that implements [`Router`] as this module's policy.
#[macro_export]
macro_rules! export_router {
    ($policy:ty) => {
        // Only for a module: a native build, as `cargo test` makes it, can't link such names.
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::router::exports::orbit::policy::routing::Guest;
            struct Exported;
            impl Guest for Exported {
                fn describe() -> $crate::Description {
                    <$policy as $crate::Router>::ABOUT.description()
                }
                fn configure(settings: String) -> Result<$crate::Configured, String> {
                    $crate::to_configured(
                        &settings,
                        <$policy as $crate::Router>::check,
                        <$policy as $crate::Router>::inputs,
                    )
                }
                fn route(settings: Vec<u8>, request: $crate::RouteRequest) -> Result<$crate::RouteDecision, String> {
                    <$policy as $crate::Router>::route(&$crate::from_bytes(&settings)?, request)
                }
            }
    $crate::bindings::router::export_router_bindings!(Exported with_types_in $crate::bindings::router);
        };
    };
}

/// Exports a type that implements [`Authorizer`] or [`PreparingAuthorizer`] as this module's policy.
#[macro_export]
macro_rules! export_authorizer {
    ($policy:ty) => {
        // Only for a module: a native build, as `cargo test` makes it, can't link such names.
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::authorizer::exports::orbit::policy::authorization::Guest;
            struct Exported;
            impl Guest for Exported {
                fn describe() -> $crate::Description {
                    <$policy as $crate::PreparingAuthorizer>::ABOUT.description()
                }
                fn configure(settings: String) -> Result<$crate::Configured, String> {
                    $crate::to_configured(
                        &settings,
                        <$policy as $crate::PreparingAuthorizer>::prepare,
                        <$policy as $crate::PreparingAuthorizer>::inputs,
                    )
                }
                fn authorize(
                    settings: Vec<u8>,
                    request: $crate::AuthorizeRequest,
                ) -> Result<$crate::AuthorizeDecision, String> {
                    <$policy as $crate::PreparingAuthorizer>::authorize($crate::from_bytes(&settings)?, request)
                }
            }
            $crate::bindings::authorizer::export_authorizer_bindings!(
                Exported with_types_in $crate::bindings::authorizer
            );
        };
    };
}

/// Exports a type that implements [`Renderer`] as this module's policy.
#[macro_export]
macro_rules! export_renderer {
    ($policy:ty) => {
        // Only for a module: a native build, as `cargo test` makes it, can't link such names.
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::renderer::exports::orbit::policy::rendering::Guest;
            struct Exported;
            impl Guest for Exported {
                fn describe() -> $crate::Description {
                    <$policy as $crate::Renderer>::ABOUT.description()
                }
                fn configure(settings: String) -> Result<$crate::Configured, String> {
                    $crate::to_configured(&settings, <$policy as $crate::Renderer>::check, |_| Vec::new())
                }
                fn render(settings: Vec<u8>, request: $crate::RenderRequest) -> Result<$crate::Rendered, String> {
                    <$policy as $crate::Renderer>::render(&$crate::from_bytes(&settings)?, request)
                }
            }
    $crate::bindings::renderer::export_renderer_bindings!(Exported with_types_in $crate::bindings::renderer);
        };
    };
}
