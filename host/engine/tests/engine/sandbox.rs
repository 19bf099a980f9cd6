//! Deciding, and the way from bytes to code.

use std::{path::Path, sync::Arc};

use orbit_engine::{Authorizer, CacheKey, Compiler, Isolation, Router, Runtime};

use crate::by_hand::{LIMITS, ask, compiler, forward, load, router, terms};

fn child() -> Isolation {
    Isolation::Child { program: env!("CARGO_BIN_EXE_compile-policy").into(), args: Vec::new() }
}

#[test]
fn a_router_decides() {
    let router = load(&compiler(), &[], terms(LIMITS));
    assert_eq!(router.about().name, "by-hand");
    for _ in 0..300 {
        assert_eq!(ask(&router).expect("a decision"), forward());
    }
}

#[test]
fn a_wrong_world_is_named() {
    let compiler = compiler();
    let compiled = compiler.compile(&router(&[])).expect("compiled");
    let error = Authorizer::load(&compiler, &compiled, terms(LIMITS)).err().expect("no authorizer").to_string();
    assert_eq!(error, "this is a router, the binding asks for an authorizer");
}

#[test]
fn the_child_compiles_and_the_cache_survives_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("cache");
    let open = |isolation| {
        let runtime: Arc<Runtime> = Runtime::start().expect("an engine");
        Compiler::new(runtime, isolation, Some((Path::new(&cache), CacheKey::new(&[9; 32])))).expect("a compiler")
    };
    let module = router(&[]);
    let works = |compiler: &Compiler| {
        let compiled = compiler.compile(&module).expect("compiled");
        ask(&Router::load(compiler, &compiled, terms(LIMITS)).expect("a router")).expect("a decision") == forward()
    };
    assert!(works(&open(child())));
    let file = std::fs::read_dir(&cache).expect("listed").next().expect("one file").expect("readable").path();
    // From the cache: this compiler could not compile at all.
    let broken = Isolation::Child { program: "/nonexistent".into(), args: Vec::new() };
    assert!(works(&open(broken.clone())));
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).expect("written");
    let error = open(broken).compile(&module).err().expect("neither cache nor compiler").to_string();
    assert!(error.contains("starting the compiling process"), "{error}");
    assert!(!file.exists(), "a damaged file is deleted");
    assert!(works(&open(child())) && file.exists());
}

#[test]
fn native_code_is_no_module() {
    // Row W-22: a `.cwasm` that somebody else made, given as a policy.
    let compiler = compiler();
    let engine = wasmtime::Engine::default();
    let code = engine.precompile_component(&router(&[])).expect("native code");
    let error = compiler.compile(&code).err().expect("refused").to_string();
    assert!(error.contains("no WebAssembly file"), "{error}");
}

#[test]
fn the_child_refuses_what_does_not_compile() {
    // What `shape` lets pass is valid, so this talks to the child alone.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_compile-policy"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it starts");
    assert!(!output.status.success() && output.stdout.is_empty() && !output.stderr.is_empty());
}
