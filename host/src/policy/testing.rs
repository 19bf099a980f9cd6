//! Small policies for unit tests, written by hand: no guest build is needed.

use std::{
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
};

const FLAT: &str = "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32";

/// What needs no wait, outside a runtime: a decision while sandboxes are free.
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

/// A router that refuses with `status` and the reason `reason` (at most 60 ASCII characters).
pub fn router(status: u16, reason: &str) -> Vec<u8> {
    // ok(refuse { status, reason }) at 1024: result tag, decision tag, status, pointer, length.
    let body = format!(
        "(i32.store8 (i32.const 1028) (i32.const 1)) (i32.store16 (i32.const 1032) (i32.const {status}))
         (i32.store (i32.const 1036) (i32.const 600)) (i32.store (i32.const 1040) (i32.const {}))",
        reason.len()
    );
    module("router", "routing", "route", &format!("{FLAT} i32"), &body, reason)
}

/// A router that refuses, with this schema of its settings (at most 2,000 ASCII characters).
pub fn router_with_schema(schema: &str) -> Vec<u8> {
    let refuse = "(i32.store8 (i32.const 1028) (i32.const 1)) (i32.store16 (i32.const 1032) (i32.const 404))";
    described("router", "routing", "route", &format!("{FLAT} i32"), refuse, "", schema)
}

/// A router that traps.
pub fn trapping_router() -> Vec<u8> {
    module("router", "routing", "route", &format!("{FLAT} i32"), "(unreachable)", "")
}

/// An authorizer that allows `user`.
pub fn authorizer(user: &str) -> Vec<u8> {
    // ok(allow { user, ownership: [], extra: [] }) at 1024.
    let body =
        format!("(i32.store (i32.const 1032) (i32.const 600)) (i32.store (i32.const 1036) (i32.const {}))", user.len());
    module("authorizer", "authorization", "authorize", "i32", &body, user)
}

/// An authorizer that denies with 403 and this reason (at most 60 ASCII characters).
pub fn denying_authorizer(reason: &str) -> Vec<u8> {
    // ok(deny { status, reason }) at 1024.
    let body = format!(
        "(i32.store8 (i32.const 1028) (i32.const 1)) (i32.store16 (i32.const 1032) (i32.const 403))
         (i32.store (i32.const 1036) (i32.const 600)) (i32.store (i32.const 1040) (i32.const {}))",
        reason.len()
    );
    module("authorizer", "authorization", "authorize", "i32", &body, reason)
}

/// An authorizer that traps.
pub fn trapping_authorizer() -> Vec<u8> {
    module("authorizer", "authorization", "authorize", "i32", "(unreachable)", "")
}

/// A renderer that renders `config`.
pub fn renderer(config: &str) -> Vec<u8> {
    // ok(rendered { app-config, … }) at 1024.
    let body = format!(
        "(i32.store (i32.const 1028) (i32.const 600)) (i32.store (i32.const 1032) (i32.const {}))",
        config.len()
    );
    module("renderer", "rendering", "render", FLAT, &body, config)
}

fn module(world: &str, interface: &str, call: &str, parameters: &str, body: &str, text: &str) -> Vec<u8> {
    described(world, interface, call, parameters, body, text, "")
}

fn described(
    world: &str,
    interface: &str,
    call: &str,
    parameters: &str,
    body: &str,
    text: &str,
    schema: &str,
) -> Vec<u8> {
    let length: String = (schema.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let schema = schema.replace('"', "\\22");
    let text = text.replace('"', "\\22");
    let wat = format!(
        r#"(module
          (memory (export "memory") 2)
          (data (i32.const 528) "by-hand1.0.0")
          (data (i32.const 256) "\10\02\00\00\07\00\00\00\17\02\00\00\05\00\00\00")
          (data (i32.const 280) "\00\08\00\00{length}")
          (data (i32.const 2048) "{schema}")
          (data (i32.const 600) "{text}")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
          (func (export "orbit:policy/{interface}@1.0.0#describe") (result i32) (i32.const 256))
          (func (export "orbit:policy/{interface}@1.0.0#configure") (param i32 i32) (result i32) (i32.const 320))
          (func (export "orbit:policy/{interface}@1.0.0#{call}") (param {parameters}) (result i32) {body} (i32.const 1024)))"#
    );
    let mut module = wat::parse_str(wat).expect("well-formed text");
    let mut wit = wit_parser::Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = wit.push_dir(folder).expect("the WIT");
    let world = wit.select_world(&[package], Some(world)).expect("the world");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &wit, world, encoding, false).expect("embedded");
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).expect("a module").encode().expect("a component")
}
