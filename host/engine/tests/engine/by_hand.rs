//! Routers in WebAssembly text: `guests/hostile/router.wat` with some of its parts replaced.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use orbit_engine::{
    CallError, Compiler, Isolation, Limits, Router, RouterDecision, RouterRequest, Runtime, Slots, Terms,
};
use wit_component::StringEncoding;

/// Of the zoo's guests; some headers ask for more memory.
pub const LIMITS: Limits =
    Limits { budget: Duration::from_millis(30), memory_bytes: 2 << 20, table_elements: 1_000, result_bytes: 64 << 10 };

/// Where the zoo is.
pub fn hostile() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/hostile")
}

/// Text by the name of the part that it replaces; `component` stands alone.
pub type Parts = BTreeMap<String, String>;

/// A component of these parts.
pub fn assemble(parts: &Parts, encoding: StringEncoding) -> Vec<u8> {
    if let Some(text) = parts.get("component") {
        return wat::parse_str(text).expect("well-formed text");
    }
    let whole = std::fs::read_to_string(hostile().join("router.wat")).expect("the router");
    let (mut text, mut replaced) = (String::new(), None);
    for line in whole.lines() {
        match line.trim().strip_prefix(";;@") {
            Some("end") => replaced = None,
            Some(part) => {
                replaced = parts.get(part);
                text.extend(replaced.map(|part| format!("{part}\n")));
            }
            None if replaced.is_none() => text.extend([line, "\n"]),
            None => {}
        }
    }
    let mut module = wat::parse_str(text).expect("well-formed text");
    let mut wit = wit_parser::Resolve::default();
    let (package, _) = wit.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).expect("the WIT");
    let world = wit.select_world(&[package], Some("router")).expect("the world");
    wit_component::embed_component_metadata(&mut module, &wit, world, encoding, false).expect("embedded");
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&module).expect("a module").encode().expect("a component")
}

/// A router with these parts.
pub fn router(parts: &[(&str, &str)]) -> Vec<u8> {
    let parts = parts.iter().map(|(part, text)| ((*part).to_owned(), (*text).to_owned())).collect();
    assemble(&parts, StringEncoding::UTF8)
}

/// Compiles in this process and keeps nothing.
pub fn compiler() -> Compiler {
    Compiler::new(Runtime::start().expect("an engine"), Isolation::InProcess, None).expect("a compiler")
}

/// No settings, slots of its own.
pub fn terms(limits: Limits) -> Terms<'static> {
    Terms { settings: "{}", limits, slots: Arc::new(Slots::unshared()) }
}

/// A loaded router with these parts.
pub fn load(compiler: &Compiler, parts: &[(&str, &str)], terms: Terms<'_>) -> Router {
    let compiled = compiler.compile(&router(parts)).expect("compiled");
    Router::load(compiler, &compiled, terms).expect("a router")
}

/// A request with two headers.
pub fn ask(router: &Router) -> Result<RouterDecision, CallError> {
    router.route(&RouterRequest {
        workspace: "acme",
        tier: "pro",
        method: "GET",
        path: "/api/catalog",
        query: "",
        headers: &[("x-one", "1"), ("x-two", "2")],
    })
}

/// What a good one answers.
pub fn forward() -> RouterDecision {
    RouterDecision::Forward { plugin: "catalog".into(), timeout_ms: 7 }
}
