//! The one unsafe call of orbitd: taking native code.

use wasmtime::{Engine, component::Component};

use crate::LoadError;

/// Native code of which this process knows that it came out of its own compiler: from a child it just ran, or from a cache
/// file whose MAC it has checked.
pub struct TrustedCode(pub(crate) Vec<u8>);

impl TrustedCode {
    /// Makes the code runnable.
    #[allow(unsafe_code)]
    pub fn load(&self, engine: &Engine) -> Result<Component, LoadError> {
        // SAFETY: `deserialize` runs whatever native code the bytes hold. A `TrustedCode` is made in two places only:
        // `compiler.rs`, from the output of a child that is this very program and was given validated input, and `cache.rs`,
        // after an HMAC with the daemon's key over exactly these bytes. Version and engine settings are checked by Wasmtime.
        unsafe { Component::deserialize(engine, &self.0) }.map_err(|error| LoadError::Compile(format!("{error:#}")))
    }
}
