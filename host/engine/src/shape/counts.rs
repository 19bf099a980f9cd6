//! Counts what a module consists of while it is read, and stops at the first bound that is passed.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentDefinedType, ComponentInstance, ComponentType,
    ComponentTypeDeclaration, CoreType, ElementItems, FunctionBody, Instance, InstanceTypeDeclaration, MemoryType,
    Operator, Payload, TableType,
};

use super::{ShapeLimits, unreadable};
use crate::LoadError;

/// What was seen so far, of all core modules and components together.
#[derive(Default)]
pub struct Counts {
    core_modules: u32,
    components: u32,
    functions: u32,
    memories: u32,
    tables: u32,
    elements: u64,
    data_segments: u32,
    imports: u32,
    exports: u32,
    types: u32,
    type_bytes: u64,
    definitions: u32,
    custom_bytes: usize,
    resources: bool,
}

impl Counts {
    /// Counts one part of the module; an error names the first bound that it passes.
    pub fn see(&mut self, payload: &Payload<'_>, limits: &ShapeLimits) -> Result<(), LoadError> {
        self.count(payload, limits)?;
        self.check(limits)
    }

    fn count(&mut self, payload: &Payload<'_>, limits: &ShapeLimits) -> Result<(), LoadError> {
        let more = |count: &mut u32, by: u32| *count = count.saturating_add(by);
        match payload {
            Payload::ModuleSection { .. } => more(&mut self.core_modules, 1),
            Payload::ComponentSection { .. } => more(&mut self.components, 1),
            Payload::FunctionSection(section) => more(&mut self.functions, section.count()),
            Payload::GlobalSection(section) => more(&mut self.definitions, section.count()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    let parts = match instance.map_err(unreadable)? {
                        Instance::Instantiate { args, .. } => args.len(),
                        Instance::FromExports(exports) => exports.len(),
                    };
                    more(&mut self.definitions, size(parts));
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    let parts = match instance.map_err(unreadable)? {
                        ComponentInstance::Instantiate { args, .. } => args.len(),
                        ComponentInstance::FromExports(exports) => exports.len(),
                    };
                    more(&mut self.definitions, size(parts));
                }
            }
            Payload::ComponentAliasSection(section) => more(&mut self.definitions, section.count()),
            Payload::DataSection(section) => more(&mut self.data_segments, section.count()),
            Payload::TypeSection(section) => {
                self.type_bytes += section.range().end - section.range().start;
                more(&mut self.types, section.count());
            }
            Payload::CoreTypeSection(section) => {
                self.type_bytes += section.range().end - section.range().start;
                self.check(limits)?;
                for ty in section.clone() {
                    more(&mut self.types, core_type_size(&ty.map_err(unreadable)?));
                }
            }
            Payload::ComponentTypeSection(section) => {
                // Before it is read: a declaration of three bytes is a hundred in memory.
                self.type_bytes += section.range().end - section.range().start;
                self.check(limits)?;
                for ty in section.clone() {
                    let size = self.component_type_size(&ty.map_err(unreadable)?);
                    more(&mut self.types, size);
                    // Here and not at the end: one section can hold very many.
                    self.check(limits)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                more(&mut self.definitions, section.count());
                for function in section.clone() {
                    let plain = matches!(
                        function.map_err(unreadable)?,
                        CanonicalFunction::Lift { .. } | CanonicalFunction::Lower { .. }
                    );
                    self.resources |= !plain;
                }
            }
            Payload::ImportSection(section) => {
                // One by one: a compact entry stands for many.
                for import in section.clone().into_imports() {
                    let import = import.map_err(unreadable)?;
                    more(&mut self.imports, 1);
                    names(limits, [import.module, import.name])?;
                }
            }
            Payload::ExportSection(section) => {
                more(&mut self.exports, section.count());
                for export in section.clone() {
                    names(limits, [export.map_err(unreadable)?.name])?;
                }
            }
            Payload::ComponentImportSection(section) => {
                more(&mut self.imports, section.count());
                for import in section.clone() {
                    names(limits, [import.map_err(unreadable)?.name.name])?;
                }
            }
            Payload::ComponentExportSection(section) => {
                more(&mut self.exports, section.count());
                for export in section.clone() {
                    names(limits, [export.map_err(unreadable)?.name.name])?;
                }
            }
            Payload::MemorySection(section) => {
                more(&mut self.memories, section.count());
                for memory in section.clone() {
                    check_memory(&memory.map_err(unreadable)?, limits)?;
                }
            }
            Payload::TableSection(section) => {
                more(&mut self.tables, section.count());
                for table in section.clone() {
                    check_table(&table.map_err(unreadable)?.ty, limits)?;
                }
            }
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    self.elements += match element.map_err(unreadable)?.items {
                        ElementItems::Functions(items) => u64::from(items.count()),
                        ElementItems::Expressions(_, items) => u64::from(items.count()),
                    };
                }
            }
            Payload::CustomSection(section) => {
                self.custom_bytes = self.custom_bytes.saturating_add(section.name().len() + section.data().len());
                names(limits, [section.name()])?;
            }
            Payload::CodeSectionEntry(body) => check_function(body, limits)?,
            _ => {}
        }
        Ok(())
    }

    fn check(&self, limits: &ShapeLimits) -> Result<(), LoadError> {
        for (what, found, allowed) in [
            ("core modules", self.core_modules.into(), limits.core_modules.into()),
            ("nested components", self.components.into(), limits.components.into()),
            ("functions", self.functions.into(), limits.functions.into()),
            ("memories", self.memories.into(), u64::from(limits.memories)),
            ("tables", self.tables.into(), limits.tables.into()),
            ("elements in its tables", self.elements, limits.elements),
            ("data segments", self.data_segments.into(), limits.data_segments.into()),
            ("imports", self.imports.into(), limits.imports.into()),
            ("exports", self.exports.into(), limits.exports.into()),
            ("types", self.types.into(), limits.types.into()),
            ("bytes of types", self.type_bytes, limits.type_bytes),
            ("definitions", self.definitions.into(), limits.definitions.into()),
            ("bytes of custom sections (strip it)", self.custom_bytes as u64, limits.custom_bytes as u64),
        ] {
            if found > allowed {
                return refused(format!("it has {found} {what}, {allowed} are allowed"));
            }
        }
        if self.resources && !limits.resources {
            return refused("it defines or uses resource handles, which no world of orbit:policy has".to_owned());
        }
        Ok(())
    }

    /// A type and everything declared in it.
    fn component_type_size(&mut self, ty: &ComponentType<'_>) -> u32 {
        let parts = match ty {
            ComponentType::Defined(ComponentDefinedType::Record(fields)) => fields.len(),
            ComponentType::Defined(ComponentDefinedType::Variant(cases)) => cases.len(),
            ComponentType::Defined(ComponentDefinedType::Tuple(types)) => types.len(),
            ComponentType::Defined(ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names)) => {
                names.len()
            }
            ComponentType::Defined(ComponentDefinedType::FixedLengthList(_, length)) => *length as usize,
            ComponentType::Defined(_) => 0,
            ComponentType::Func(function) => function.params.len(),
            ComponentType::Component(declared) => declared.iter().fold(0, |sum: usize, one| {
                sum.saturating_add(match one {
                    ComponentTypeDeclaration::Type(ty) => self.component_type_size(ty) as usize,
                    ComponentTypeDeclaration::CoreType(ty) => core_type_size(ty) as usize,
                    _ => 1,
                })
            }),
            ComponentType::Instance(declared) => declared.iter().fold(0, |sum: usize, one| {
                sum.saturating_add(match one {
                    InstanceTypeDeclaration::Type(ty) => self.component_type_size(ty) as usize,
                    InstanceTypeDeclaration::CoreType(ty) => core_type_size(ty) as usize,
                    _ => 1,
                })
            }),
            ComponentType::Resource { .. } => {
                self.resources = true;
                0
            }
        };
        size(parts)
    }
}

/// One thing and its parts.
fn size(parts: usize) -> u32 {
    u32::try_from(parts).unwrap_or(u32::MAX).saturating_add(1)
}

fn refused<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::Shape(reason))
}

fn core_type_size(ty: &CoreType<'_>) -> u32 {
    match ty {
        CoreType::Rec(group) => u32::try_from(group.types().len()).unwrap_or(u32::MAX),
        CoreType::Module(declared) => size(declared.len()),
    }
}

fn names<'a>(limits: &ShapeLimits, names: impl IntoIterator<Item = &'a str>) -> Result<(), LoadError> {
    for name in names {
        if name.len() > limits.name_bytes {
            let start: String = name.chars().take(20).collect();
            return refused(format!(
                "the name {start:?}… is {} bytes long, {} are allowed",
                name.len(),
                limits.name_bytes
            ));
        }
    }
    Ok(())
}

fn check_memory(memory: &MemoryType, limits: &ShapeLimits) -> Result<(), LoadError> {
    if memory.initial > limits.memory_pages {
        return refused(format!(
            "it starts with {} pages of memory (64 KiB each), {} are allowed",
            memory.initial, limits.memory_pages
        ));
    }
    Ok(())
}

fn check_table(table: &TableType, limits: &ShapeLimits) -> Result<(), LoadError> {
    if table.initial > limits.table_elements {
        return refused(format!(
            "it starts with a table of {} elements, {} are allowed",
            table.initial, limits.table_elements
        ));
    }
    Ok(())
}

fn check_function(body: &FunctionBody<'_>, limits: &ShapeLimits) -> Result<(), LoadError> {
    let at = body.range().start;
    let too_many = |found: u64, what: &str, allowed: u64| {
        refused(format!("the function at byte {at} has {found} {what}, {allowed} are allowed"))
    };
    let bytes = body.range().end - at;
    if bytes > limits.function_bytes {
        return too_many(bytes, "bytes", limits.function_bytes);
    }
    let mut locals = 0_u64;
    for local in body.get_locals_reader().map_err(unreadable)? {
        locals += u64::from(local.map_err(unreadable)?.0);
    }
    if locals > limits.function_locals {
        return too_many(locals, "variables", limits.function_locals);
    }
    let blocks = blocks(body).map_err(unreadable)?;
    if blocks > limits.function_blocks {
        return too_many(blocks as u64, "branches and calls", limits.function_blocks as u64);
    }
    Ok(())
}

fn blocks(body: &FunctionBody<'_>) -> Result<usize, BinaryReaderError> {
    use Operator as Op;
    let mut blocks = 0;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        blocks += match operators.read()? {
            Op::Block { .. } | Op::Loop { .. } | Op::If { .. } | Op::Br { .. } | Op::BrIf { .. } | Op::Call { .. } => 1,
            Op::CallIndirect { .. } => 1,
            Op::BrTable { targets } => targets.len() as usize + 1,
            _ => 0,
        };
    }
    Ok(blocks)
}
