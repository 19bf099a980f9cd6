//! The host's side of `wit/`, generated. Requests are borrowed: a header's text is copied once, into the guest.
#![allow(missing_docs)]

use wasmtime::Store;

use crate::sandbox::State;

pub mod router {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "router",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
pub mod authorizer {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "authorizer",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
pub mod renderer {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "renderer",
        // Owned: the generator stumbles over `refusal`, which this world does not use. A renderer is no hot path.
    });
}

/// `describe`, as the guest answered.
pub struct Described {
    pub name: String,
    pub version: String,
    pub inputs: Vec<String>,
    pub settings_schema: String,
}

/// `configure`, as the guest answered.
pub struct Configured {
    pub settings: Vec<u8>,
    pub inputs: Vec<String>,
}

/// What all three worlds have: the two calls at load.
pub trait World: Sized {
    fn new(pre: wasmtime::component::InstancePre<State>) -> wasmtime::Result<Self>;
    fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Described>;
    fn configure(&self, store: &mut Store<State>, settings: &str) -> wasmtime::Result<Result<Configured, String>>;
}

macro_rules! world {
    ($pre:ty, $interface:ident) => {
        impl World for $pre {
            fn new(pre: wasmtime::component::InstancePre<State>) -> wasmtime::Result<Self> {
                Self::new(pre)
            }
            fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Described> {
                let guest = self.instantiate(&mut *store)?;
                store.data_mut().entered();
                let said = guest.$interface().call_describe(store)?;
                Ok(Described {
                    name: said.name,
                    version: said.version,
                    inputs: said.inputs,
                    settings_schema: said.settings_schema,
                })
            }
            fn configure(
                &self,
                store: &mut Store<State>,
                settings: &str,
            ) -> wasmtime::Result<Result<Configured, String>> {
                let guest = self.instantiate(&mut *store)?;
                store.data_mut().entered();
                let answer = guest.$interface().call_configure(store, settings)?;
                Ok(answer.map(|said| Configured { settings: said.settings, inputs: said.inputs }))
            }
        }
    };
}

world!(router::RouterPre<State>, orbit_policy_routing);
world!(authorizer::AuthorizerPre<State>, orbit_policy_authorization);
world!(renderer::RendererPre<State>, orbit_policy_rendering);
