//! What a module holds, for its author: counted, not judged ([`crate::shape`] judges, the compiler compiles). It reads as far as
//! it can, so that a refused module can still be looked at.

use wasmparser::{Encoding, Parser, Payload};

/// Bytes of a Wasm page.
const PAGE: u64 = 64 << 10;
/// Names listed; past it the rest is counted only.
const MAX_NAMES: usize = 200;

/// What a look into a module saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Of the whole file.
    pub bytes: usize,
    /// Whether it is a component; a core module is none.
    pub component: bool,
    /// What the outermost component asks for, by name; at most 200.
    pub imports: Vec<String>,
    /// What it offers, by name; at most 200.
    pub exports: Vec<String>,
    /// Core modules inside.
    pub core_modules: u32,
    /// Functions with a body, all core modules together.
    pub functions: u32,
    /// Bytes of these bodies.
    pub code_bytes: u64,
    /// Bytes of linear memory that it starts with, all memories together.
    pub initial_memory_bytes: u64,
    /// Bytes of custom sections (names, debug information): they cost only place.
    pub custom_bytes: u64,
    /// Where reading ended early, and why.
    pub unreadable: Option<String>,
}

/// Looks into a module of any kind; never fails, see [`Inspection::unreadable`].
pub fn inspect(bytes: &[u8]) -> Inspection {
    let mut seen = Inspection { bytes: bytes.len(), ..Inspection::default() };
    if let Err(error) = look(bytes, &mut seen) {
        seen.unreadable = Some(error.to_string());
    }
    seen
}

fn look(bytes: &[u8], seen: &mut Inspection) -> Result<(), wasmparser::BinaryReaderError> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                seen.component |= depth == 1 && encoding == Encoding::Component;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } => seen.core_modules += 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    keep(&mut seen.imports, import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    keep(&mut seen.exports, export?.name.name);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let bytes = memory?.initial.saturating_mul(PAGE);
                    seen.initial_memory_bytes = seen.initial_memory_bytes.saturating_add(bytes);
                }
            }
            Payload::CodeSectionEntry(body) => {
                seen.functions += 1;
                seen.code_bytes += body.range().end - body.range().start;
            }
            Payload::CustomSection(section) => seen.custom_bytes += section.data().len() as u64,
            _ => {}
        }
    }
    Ok(())
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < MAX_NAMES {
        names.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_counted_as_far_as_it_can_be_read() {
        let text = r#"(component (import "a:b/c@1.0.0" (instance))
            (core module (memory 2) (func) (func (drop (i32.const 1))))
            (instance $i) (export "x:y/z@1.0.0" (instance $i)))"#;
        let bytes = wat::parse_str(text).expect("well-formed text");
        let seen = inspect(&bytes);
        assert!(seen.component && seen.unreadable.is_none(), "{seen:?}");
        assert_eq!((seen.core_modules, seen.functions, seen.initial_memory_bytes), (1, 2, 131_072));
        assert_eq!((&seen.imports[..], &seen.exports[..]), (&["a:b/c@1.0.0".into()][..], &["x:y/z@1.0.0".into()][..]));
        let half = inspect(&bytes[..bytes.len() - 4]);
        assert!(half.unreadable.is_some() && half.core_modules == 1, "{half:?}");
        assert!(inspect(b"hello").unreadable.is_some());
    }
}
