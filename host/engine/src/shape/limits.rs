//! What a module may look like, and what compiling it may cost: one class for policies, one for interpreters.

use std::time::Duration;

/// Upper bounds of a module's shape. All of them are far above what an honest module of the class needs and far below what hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeLimits {
    /// Name of the class, as the compiling child is told it.
    pub(crate) name: &'static str,
    /// Bytes of the whole module.
    pub module_bytes: usize,
    /// Functions of all core modules together. Wasmtime compiles each on its own: 900,000 empty ones cost 30 CPU seconds.
    pub functions: u32,
    /// Bytes of one function's body. A megabyte of arithmetic without a branch costs 40 CPU seconds.
    pub function_bytes: u64,
    /// Blocks, loops, branches (each target of a `br_table`) and calls of one function: compile time grows with their square.
    pub function_blocks: usize,
    /// Variables of one function.
    pub function_locals: u64,
    /// Core modules.
    pub core_modules: u32,
    /// Components within the component.
    pub components: u32,
    /// How deep modules and components lie in each other.
    pub depth: u32,
    /// Memories of all core modules together.
    pub memories: u32,
    /// Pages of 64 KiB that a memory asks for from the start.
    pub memory_pages: u64,
    /// Tables of all core modules together.
    pub tables: u32,
    /// Elements that a table asks for from the start.
    pub table_elements: u64,
    /// Elements of all element segments together.
    pub elements: u64,
    /// Data segments.
    pub data_segments: u32,
    /// Imports of core modules and of the component.
    pub imports: u32,
    /// Exports of core modules and of the component.
    pub exports: u32,
    /// Types, with the fields, cases, parameters and declarations in them: what validation time and memory grow with.
    pub types: u32,
    /// Bytes of all type sections together: reading them takes thirty times as much memory for a moment.
    pub type_bytes: u64,
    /// Globals, instances, aliases and canonical functions.
    pub definitions: u32,
    /// Bytes of all custom sections (names, debug information): nothing reads them, they only travel.
    pub custom_bytes: usize,
    /// Bytes of one import's or export's name.
    pub name_bytes: usize,
    /// Whether resource types and handles may be defined or used. No world of `orbit:policy` has any.
    pub resources: bool,
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
        function_locals: 10_000,
        core_modules: 8,
        components: 4,
        depth: 4,
        memories: 1,
        memory_pages: 1024,
        tables: 4,
        table_elements: 20_000,
        elements: 40_000,
        data_segments: 10_000,
        imports: 1_000,
        exports: 1_000,
        types: 20_000,
        type_bytes: 512 << 10,
        definitions: 20_000,
        custom_bytes: 2 << 20,
        name_bytes: 1 << 10,
        resources: false,
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
        components: 64,
        depth: 8,
        elements: 200_000,
        data_segments: 50_000,
        imports: 20_000,
        exports: 20_000,
        types: 50_000,
        type_bytes: 4 << 20,
        definitions: 100_000,
        custom_bytes: 16 << 20,
        resources: true,
        compile_cpu_s: 120,
        compile_address_space: 8 << 30,
        compile_deadline: Duration::from_secs(180),
        ..Self::POLICY
    };

    /// By name; the one that allows less where the name is none.
    pub(crate) fn named(name: &str) -> Self {
        if name == Self::LANGUAGE.name { Self::LANGUAGE } else { Self::POLICY }
    }
}
