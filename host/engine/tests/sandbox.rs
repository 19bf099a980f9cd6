//! The engine from outside, with routers written by hand: no guest build is needed.

use std::{path::Path, sync::Arc, time::Duration};

use orbit_engine::{
    Authorizer, CacheKey, CallError, CallErrorKind, Compiler, Isolation, Limits, LoadError, Router, RouterDecision,
    RouterRequest, Runtime,
};

const LIMITS: Limits = Limits { budget: Duration::from_millis(30), memory_bytes: 1 << 20, result_bytes: 64 << 10 };

/// A router whose three functions are given. Memory: 16 pages; `$answer` is where an answer is built.
fn router(route: &str, start: &str) -> Vec<u8> {
    let text = include_str!("router.wat").replace(";;ROUTE", route).replace(";;START", start);
    let mut module = wat::parse_str(text).expect("well-formed text");
    let mut wit = wit_parser::Resolve::default();
    let (package, _) = wit.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).expect("the WIT");
    let world = wit.select_world(&[package], Some("router")).expect("the world");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &wit, world, encoding, false).expect("embedded");
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).expect("a module").encode().expect("a component")
}

/// Writes `forward { plugin: "catalog", timeout-ms: 7, extra: [] }`.
const FORWARD: &str = r#"
    (i32.store8 (i32.const 1024) (i32.const 0))
    (i32.store8 (i32.const 1028) (i32.const 0))
    (i32.store (i32.const 1032) (i32.const 512)) (i32.store (i32.const 1036) (i32.const 7))
    (i32.store (i32.const 1040) (i32.const 7))
    (i32.store (i32.const 1044) (i32.const 0)) (i32.store (i32.const 1048) (i32.const 0))
    (return (i32.const 1024))"#;

fn compiler() -> Compiler {
    Compiler::new(Runtime::start().expect("an engine"), Isolation::InProcess, None).expect("a compiler")
}
fn child() -> Isolation {
    Isolation::Child { program: env!("CARGO_BIN_EXE_compile-policy").into(), args: Vec::new() }
}
fn ask(router: &Router) -> Result<RouterDecision, CallError> {
    router.route(&RouterRequest {
        workspace: "acme",
        tier: "pro",
        method: "GET",
        path: "/api/catalog",
        query: "",
        headers: &[],
    })
}
fn load(compiler: &Compiler, route: &str) -> Router {
    let compiled = compiler.compile(&router(route, "")).expect("compiled");
    Router::load(compiler, &compiled, "{}", LIMITS).expect("a router")
}
fn forward() -> RouterDecision {
    RouterDecision::Forward { plugin: "catalog".into(), timeout_ms: 7 }
}

#[test]
fn a_router_decides() {
    let compiler = compiler();
    let router = load(&compiler, FORWARD);
    assert_eq!(router.about().name, "by-hand");
    for _ in 0..300 {
        assert_eq!(ask(&router).expect("a decision"), forward());
    }
}

#[test]
fn each_way_to_misbehave_has_its_name_and_the_next_call_works() {
    let compiler = compiler();
    for (route, kind) in [
        ("(loop $l (br $l))", CallErrorKind::Timeout),
        ("unreachable", CallErrorKind::Trap),
        ("(call $recurse)", CallErrorKind::Trap),
        // Memory refused, then a trap, as an allocator does it.
        ("(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))", CallErrorKind::Memory),
        // The answer lies outside memory.
        ("(return (i32.const 0x7ffffff0))", CallErrorKind::Contract),
        // `err` with a text.
        (
            "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 512))
             (i32.store (i32.const 1032) (i32.const 7)) (return (i32.const 1024))",
            CallErrorKind::Error,
        ),
        // A name of 200 kB is more than an answer may hold.
        (
            "(i32.store8 (i32.const 1024) (i32.const 0)) (i32.store8 (i32.const 1028) (i32.const 0))
             (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 200000))
             (return (i32.const 1024))",
            CallErrorKind::Contract,
        ),
        // A text that is no UTF-8.
        (
            "(i32.store8 (i32.const 600) (i32.const 0xff)) (i32.store8 (i32.const 1024) (i32.const 0))
             (i32.store8 (i32.const 1028) (i32.const 0)) (i32.store (i32.const 1032) (i32.const 600))
             (i32.store (i32.const 1036) (i32.const 1)) (return (i32.const 1024))",
            CallErrorKind::Contract,
        ),
    ] {
        let bad = load(&compiler, route);
        let error = ask(&bad).expect_err(route);
        assert_eq!(error.kind, kind, "{route}: {error}");
        assert_eq!(ask(&load(&compiler, FORWARD)).expect("the engine still works"), forward());
    }
}

#[test]
fn one_string_a_million_times_is_bounded() {
    // `extra` is a list of 60,000 pairs that all lie in the same memory: cheap for the guest, not for the host.
    let compiler = compiler();
    let bomb =
        FORWARD.replace("(i32.store (i32.const 1048) (i32.const 0))", "(i32.store (i32.const 1048) (i32.const 60000))");
    assert_eq!(ask(&load(&compiler, &bomb)).expect_err("too large").kind, CallErrorKind::Contract);
}

#[test]
fn the_deadline_is_armed_before_the_first_instruction() {
    let compiler = compiler();
    let compiled = compiler.compile(&router(FORWARD, "(loop $l (br $l))")).expect("compiled");
    let error = Router::load(&compiler, &compiled, "{}", LIMITS).err().expect("it never starts");
    assert!(matches!(&error, LoadError::Call { error, .. } if error.kind == CallErrorKind::Timeout), "{error}");
}

#[test]
fn a_wrong_world_is_named() {
    let compiler = compiler();
    let compiled = compiler.compile(&router(FORWARD, "")).expect("compiled");
    let error = Authorizer::load(&compiler, &compiled, "{}", LIMITS).err().expect("no authorizer").to_string();
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
    let module = router(FORWARD, "");
    let works = |compiler: &Compiler| {
        let compiled = compiler.compile(&module).expect("compiled");
        ask(&Router::load(compiler, &compiled, "{}", LIMITS).expect("a router")).expect("a decision") == forward()
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
fn the_child_refuses_what_does_not_compile() {
    // What `shape` lets pass is valid, so this talks to the child alone.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_compile-policy"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it starts");
    assert!(!output.status.success() && output.stdout.is_empty() && !output.stderr.is_empty());
}
