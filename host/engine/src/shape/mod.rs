//! What a module must look like before a compiler sees it.
//!
//! Compile time is a weapon (facts: 1.2 MB that cost 54 CPU-seconds), and Wasmtime does not count that as a bug. These limits
//! are far above what a policy needs and cheap to check: one pass, nothing is built.

mod counts;
mod limits;
#[cfg(test)]
mod tests;

use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentImport, ComponentTypeRef, Encoding, Parser, Payload, Validator,
    WasmFeatures,
};

use crate::LoadError;
use counts::Counts;
pub use limits::ShapeLimits;

/// Bytes of a module of whichever class: more need not be read.
pub const MAX_MODULE_BYTES: usize = ShapeLimits::LANGUAGE.module_bytes;

/// What the checks saw.
#[derive(Debug)]
pub struct Shape {
    /// Names of the component's exports.
    pub exports: Vec<String>,
}

/// Refuses what no policy may be. The error is in plain words. Never panics, whatever the bytes are: the fuzz target's promise.
pub fn check(bytes: &[u8], limits: &ShapeLimits) -> Result<Shape, LoadError> {
    let refused = |text: String| Err(LoadError::Shape(text));
    if bytes.len() > limits.module_bytes {
        return refused(format!("it is {} bytes long, {} are allowed", bytes.len(), limits.module_bytes));
    }
    if !bytes.starts_with(b"\0asm") {
        return refused("this is no WebAssembly file (its first bytes are not \\0asm); is it complete?".into());
    }
    let mut counts = Counts::default();
    let mut exports = Vec::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(unreadable)?;
        match &payload {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 && *encoding == Encoding::Module {
                    return refused(
                        "this is a core WebAssembly module, not a component: encode it (`wasm-tools component new`, or build \
                         it with `cargo xtask guests`)"
                            .into(),
                    );
                }
                if depth > limits.depth + 1 {
                    return refused(format!(
                        "its modules and components are nested {depth} deep, {} are allowed",
                        limits.depth + 1
                    ));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section.clone() {
                    check_import(&import.map_err(unreadable)?)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section.clone() {
                    let export = export.map_err(unreadable)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        counts.see(&payload, limits)?;
    }
    Validator::new_with_features(features())
        .validate_all(bytes)
        .map_err(|error| LoadError::Shape(format!("it is not valid: {error}")))?;
    Ok(Shape { exports })
}

/// Whether it looks as if an interpreter were in it: larger than any policy in code of its own, and still within what interpreters
/// may be. Something small that is refused as a policy (resource handles, tables of tens of thousands of elements) is not
/// helped by the other class, whatever that allows.
pub fn carries_an_interpreter(bytes: &[u8]) -> bool {
    bytes.len() > ShapeLimits::POLICY.module_bytes && check(bytes, &ShapeLimits::LANGUAGE).is_ok()
}

fn check_import(import: &ComponentImport<'_>) -> Result<(), LoadError> {
    let name = import.name.name;
    // An interface of types only, by which a world names its records. It carries nothing.
    if name.starts_with("orbit:policy/types@") && matches!(import.ty, ComponentTypeRef::Instance(_)) {
        return Ok(());
    }
    let start: String = name.chars().take(100).collect();
    Err(LoadError::Shape(format!(
        "it imports {start}: a policy imports nothing (build it for wasm32-unknown-unknown, not for a WASI target)"
    )))
}

/// WebAssembly without what a policy has no use for: threads, exceptions, GC, 64-bit memories, component-model async.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2 | WasmFeatures::EXTENDED_CONST | WasmFeatures::COMPONENT_MODEL
}

fn unreadable(error: BinaryReaderError) -> LoadError {
    LoadError::Shape(format!("it can't be read: {error}"))
}
