//! What a module must look like before a compiler sees it.
//!
//! Compile time is a weapon (facts: 1.2 MB that cost 54 CPU-seconds), and Wasmtime does not count that as a bug. These limits
//! are far above what a policy needs and cheap to check: one pass, nothing is built.

use std::time::Duration;

use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::LoadError;

/// Bytes of the largest module of any class.
pub const MAX_MODULE_BYTES: usize = ShapeLimits::LANGUAGE.module_bytes;
const MAX_LOCALS: u64 = 10_000;
const MAX_TABLES: u32 = 4;
/// Types and definitions, which cost validation time.
const MAX_ITEMS: u32 = 20_000;

/// What a module may look like, by class: upper bounds, and what compiling one may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeLimits {
    /// Name of the class, as the compiling child is told it.
    pub(crate) name: &'static str,
    /// Bytes of the whole module.
    pub module_bytes: usize,
    /// Functions of all core modules together.
    pub functions: u32,
    /// Bytes of one function's body.
    pub function_bytes: u64,
    /// Blocks, loops, branches and calls of one function: what the register allocator's time grows with.
    pub function_blocks: usize,
    /// Core modules.
    pub core_modules: u32,
    /// CPU seconds of the compiling child, all its threads together.
    pub compile_cpu_s: u64,
    /// Address space of the compiling child, bytes.
    pub compile_address_space: u64,
    /// Wall time of one compilation; past it the child is killed.
    pub compile_deadline: Duration,
}

impl ShapeLimits {
    /// A policy in Rust, or in any language that compiles to code of its own.
    pub const POLICY: Self = Self {
        name: "policy",
        module_bytes: 4 << 20,
        functions: 20_000,
        function_bytes: 128 << 10,
        function_blocks: 8_000,
        core_modules: 8,
        compile_cpu_s: 20,
        // Measured: a policy of 150 kB takes 150 MB.
        compile_address_space: 2 << 30,
        compile_deadline: Duration::from_secs(30),
    };

    /// An interpreter with a script in it. Measured: JavaScript is 12 MB with a function of 170 kB, Python 18 MB in 38 core modules
    /// with one of 430 kB; both take some 25 CPU seconds.
    pub const LANGUAGE: Self = Self {
        name: "language",
        module_bytes: 32 << 20,
        functions: 60_000,
        function_bytes: 1 << 20,
        function_blocks: 80_000,
        core_modules: 64,
        compile_cpu_s: 120,
        compile_address_space: 8 << 30,
        compile_deadline: Duration::from_secs(180),
    };

    /// Whether a module is within these limits. One pass over it.
    pub fn fits(&self, module: &[u8]) -> bool {
        check(module, self).is_ok()
    }

    /// By name; the one that allows less where the name is none.
    pub(crate) fn named(name: &str) -> Self {
        if name == Self::LANGUAGE.name { Self::LANGUAGE } else { Self::POLICY }
    }
}

/// What the checks saw.
pub struct Shape {
    /// Names of the component's exports.
    pub exports: Vec<String>,
}

/// Refuses what no policy may be. The error is in plain words.
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
        let payload = payload.map_err(|error| LoadError::Shape(format!("it can't be read: {error}")))?;
        match payload {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 && encoding == Encoding::Module {
                    return refused(
                        "this is a core WebAssembly module, not a component: encode it (`wasm-tools component new`, or build \
                         it with `cargo xtask guests`)"
                            .into(),
                    );
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } => counts.modules += 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(|error| LoadError::Shape(format!("it can't be read: {error}")))?;
                    // An interface of types only, by which a world names its records. It carries nothing.
                    let types_only = import.name.name.starts_with("orbit:policy/types@")
                        && matches!(import.ty, ComponentTypeRef::Instance(_));
                    if !types_only {
                        return refused(format!(
                            "it imports {}: a policy imports nothing (build it for wasm32-unknown-unknown, not for a WASI target)",
                            import.name.name
                        ));
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(|error| LoadError::Shape(format!("it can't be read: {error}")))?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            other => counts.see(&other, limits)?,
        }
    }
    counts.check(limits)?;
    Validator::new_with_features(features())
        .validate_all(bytes)
        .map_err(|error| LoadError::Shape(format!("it is not valid: {error}")))?;
    Ok(Shape { exports })
}

/// WebAssembly without what a policy has no use for: threads, exceptions, GC, 64-bit memories, component-model async.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2 | WasmFeatures::EXTENDED_CONST | WasmFeatures::COMPONENT_MODEL
}

#[derive(Default)]
struct Counts {
    modules: u32,
    functions: u32,
    tables: u32,
    memories: u32,
    items: u32,
}

impl Counts {
    fn see(&mut self, payload: &Payload<'_>, limits: &ShapeLimits) -> Result<(), LoadError> {
        match payload {
            Payload::TypeSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::ComponentTypeSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::ExportSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::ImportSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::GlobalSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::InstanceSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::ComponentInstanceSection(section) => self.items = self.items.saturating_add(section.count()),
            Payload::FunctionSection(section) => self.functions = self.functions.saturating_add(section.count()),
            Payload::TableSection(section) => self.tables = self.tables.saturating_add(section.count()),
            Payload::MemorySection(section) => self.memories = self.memories.saturating_add(section.count()),
            Payload::CodeSectionEntry(body) => return check_function(body, limits),
            _ => {}
        }
        Ok(())
    }

    fn check(&self, limits: &ShapeLimits) -> Result<(), LoadError> {
        for (what, found, allowed) in [
            ("core modules", self.modules, limits.core_modules),
            ("functions", self.functions, limits.functions),
            ("tables", self.tables, MAX_TABLES),
            ("memories", self.memories, 1),
            ("types and definitions", self.items, MAX_ITEMS),
        ] {
            if found > allowed {
                return Err(LoadError::Shape(format!("it has {found} {what}, {allowed} are allowed")));
            }
        }
        Ok(())
    }
}

fn check_function(body: &wasmparser::FunctionBody<'_>, limits: &ShapeLimits) -> Result<(), LoadError> {
    use wasmparser::Operator as Op;
    let unreadable = |error| LoadError::Shape(format!("it can't be read: {error}"));
    let at = body.range().start;
    let bytes = body.range().end - at;
    if bytes > limits.function_bytes {
        return Err(LoadError::Shape(format!(
            "the function at byte {at} is {bytes} bytes long, {} are allowed",
            limits.function_bytes
        )));
    }
    let mut locals = 0_u64;
    for local in body.get_locals_reader().map_err(unreadable)? {
        locals += u64::from(local.map_err(unreadable)?.0);
    }
    if locals > MAX_LOCALS {
        return Err(LoadError::Shape(format!(
            "the function at byte {at} has {locals} variables, {MAX_LOCALS} are allowed"
        )));
    }
    let mut blocks = 0;
    let mut operators = body.get_operators_reader().map_err(unreadable)?;
    while !operators.eof() {
        blocks += match operators.read().map_err(unreadable)? {
            Op::Block { .. } | Op::Loop { .. } | Op::If { .. } | Op::Br { .. } | Op::BrIf { .. } | Op::Call { .. } => 1,
            Op::CallIndirect { .. } => 1,
            Op::BrTable { targets } => targets.len() as usize + 1,
            _ => 0,
        };
    }
    if blocks > limits.function_blocks {
        return Err(LoadError::Shape(format!(
            "the function at byte {at} has {blocks} branches and calls, {} are allowed",
            limits.function_blocks
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(wat: &str) -> String {
        let bytes = wat::parse_str(wat).expect("well-formed text");
        check(&bytes, &ShapeLimits::POLICY).err().expect("refused").to_string()
    }

    #[test]
    fn what_is_refused_is_named() {
        assert!(
            check(b"hello", &ShapeLimits::POLICY).err().expect("refused").to_string().contains("no WebAssembly file")
        );
        assert!(check(b"\0asm", &ShapeLimits::POLICY).err().expect("refused").to_string().contains("can't be read"));
        assert!(refusal("(module)").contains("not a component"));
        assert!(
            refusal(r#"(component (import "wasi:cli/run@0.2.0" (instance)))"#)
                .contains("it imports wasi:cli/run@0.2.0")
        );
        // The bytes of the fixture `imports.wasm` that xtask writes.
        let imports = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0";
        assert!(check(imports, &ShapeLimits::POLICY).err().expect("refused").to_string().contains("it imports f"));
        assert!(
            refusal("(component (core module (memory 1)) (core module (memory 1)))")
                .contains("2 memories, 1 are allowed")
        );
        assert!(refusal("(component (core module (memory i64 1)))").contains("not valid"));
        assert!(refusal("(component (core module (memory 1 1 shared)))").contains("not valid"));
        let long = format!(
            "(component (core module (func {})))",
            "(block (nop)) ".repeat(ShapeLimits::POLICY.function_blocks + 1)
        );
        assert!(refusal(&long).contains("branches and calls"));
        let many = format!("(component (core module (func (local {}))))", "i32 ".repeat(20_000));
        assert!(refusal(&many).contains("variables"));
    }

    #[test]
    fn an_interpreter_may_be_larger_and_no_stranger() {
        let many = format!("(component {})", "(core module)".repeat(20));
        let bytes = wat::parse_str(many).expect("well-formed text");
        assert!(check(&bytes, &ShapeLimits::POLICY).is_err() && check(&bytes, &ShapeLimits::LANGUAGE).is_ok());
        let wasi = wat::parse_str(r#"(component (import "wasi:cli/run@0.2.0" (instance)))"#).expect("well-formed text");
        assert!(check(&wasi, &ShapeLimits::LANGUAGE).is_err());
    }

    #[test]
    fn exports_are_told() {
        let bytes = wat::parse_str(r#"(component (instance $i) (export "orbit:policy/routing@1.0.0" (instance $i)))"#);
        let shape = check(&bytes.expect("well-formed text"), &ShapeLimits::POLICY).expect("a component");
        assert_eq!(shape.exports, ["orbit:policy/routing@1.0.0"]);
    }
}
