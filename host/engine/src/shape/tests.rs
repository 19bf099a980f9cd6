//! Row W-20 of the zoo (bombs for the compiler and the validator), and what a refusal says.

use super::*;

const POLICY: ShapeLimits = ShapeLimits::POLICY;

fn bytes(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("well-formed text")
}
fn refusal(wat: &str) -> String {
    check(&bytes(wat), &POLICY).expect_err("refused").to_string()
}
/// A component of one core module.
fn core(module: &str) -> String {
    format!("(component (core module {module}))")
}

#[test]
fn what_is_no_policy_is_named() {
    let refused = |bytes: &[u8]| check(bytes, &POLICY).expect_err("refused").to_string();
    assert!(refused(b"hello").contains("no WebAssembly file"));
    assert!(refused(b"\0asm").contains("can't be read"));
    assert!(refusal("(module)").contains("not a component"));
    let wasi = r#"(component (import "wasi:cli/run@0.2.0" (instance)))"#;
    assert!(refusal(wasi).contains("it imports wasi:cli/run@0.2.0"));
    assert!(check(&bytes(wasi), &ShapeLimits::LANGUAGE).is_err(), "an interpreter is no exception");
    // The bytes of the fixture `imports.wasm` that xtask writes.
    assert!(refused(b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0").contains("it imports f"));
    assert!(refusal(&core("(memory i64 1)")).contains("not valid"));
    assert!(refusal(&core("(memory 1 1 shared)")).contains("not valid"));
}

#[test]
fn each_bound_is_checked_and_named() {
    let many = |what: &str, times: usize| what.repeat(times);
    for (module, expect) in [
        (core(&format!("(func {})", many("(block (nop)) ", 8_001))), "branches and calls"),
        (core(&format!("(func (block (br_table {} (i32.const 0))))", many("0 ", 8_001))), "branches and calls"),
        (core(&format!("(func {})", many("(i32.const 1) drop ", 60_000))), "bytes, 131072 are allowed"),
        (core(&format!("(func (local {}))", many("i32 ", 20_000))), "20000 variables"),
        (core(&many("(func) ", 20_001)), "20001 functions"),
        (core(&many("(table 1 funcref) ", 5)), "5 tables"),
        (core("(table 20001 funcref)"), "a table of 20001 elements"),
        (core("(memory 1025)"), "1025 pages of memory"),
        (core(&format!("(func $f) (elem func {})", many("$f ", 40_001))), "40001 elements"),
        (core(&format!("(memory 1) {}", many("(data \"\") ", 10_001))), "10001 data segments"),
        (core(&many("(import \"a\" \"b\" (func)) ", 1_001)), "1001 imports"),
        (core(&many("(global i32 (i32.const 0)) ", 20_001)), "20001 definitions"),
        (core(&many("(type (func)) ", 20_001)), "20001 types"),
        (core(&format!("(import \"{}\" \"b\" (func))", many("x", 1_025))), "is 1025 bytes long"),
        (core(&format!("(@custom \"x\" \"{}\")", many("x", 2 << 20))), "bytes of custom sections"),
        (format!("(component {})", many("(core module) ", 9)), "9 core modules"),
        (format!("(component {})", many("(component) ", 5)), "5 nested components"),
        (format!("(component {})", many(&format!("(type (record {}))", fields(500)), 41)), "types, 20000 are allowed"),
        ("(component (core module (memory 1)) (core module (memory 1)))".to_owned(), "2 memories, 1 are allowed"),
        ("(component (type (resource (rep i32))))".to_owned(), "resource handles"),
    ] {
        let said = refusal(&module);
        assert!(said.contains(expect), "{said:?} instead of {expect:?} for {}…", &module[..60.min(module.len())]);
    }
    let exports: String = (0..1_001).map(|n| format!("(export \"e{n}\" (func $f))")).collect();
    assert!(refusal(&core(&format!("(func $f) {exports}"))).contains("1001 exports"));
    let long = vec![0; POLICY.module_bytes + 1];
    assert!(check(&long, &POLICY).expect_err("refused").to_string().contains("bytes long"));
}

#[test]
fn an_interpreter_may_be_larger() {
    let many = bytes(&format!("(component {})", "(core module) ".repeat(20)));
    assert!(check(&many, &POLICY).is_err() && check(&many, &ShapeLimits::LANGUAGE).is_ok());
    // A policy has too many components before it is too deep.
    let deep = bytes(&format!("{}{}", "(component ".repeat(11), ")".repeat(11)));
    let said = check(&deep, &ShapeLimits::LANGUAGE).expect_err("refused").to_string();
    assert!(said.contains("nested 10 deep, 9 are allowed"), "{said}");
}

/// The other class is no advice for what is refused for another reason than its size.
#[test]
fn only_what_is_large_passes_for_an_interpreter() {
    let resources = bytes("(component (type (resource (rep i32))))");
    let elements = bytes(&core(&format!("(func $f) (elem func {})", "$f ".repeat(40_001))));
    for small in [&resources, &elements] {
        assert!(check(small, &POLICY).is_err() && check(small, &ShapeLimits::LANGUAGE).is_ok());
        assert!(!carries_an_interpreter(small));
    }
    let text = "x".repeat(POLICY.module_bytes);
    let large = bytes(&core(&format!("(memory 100) (data (i32.const 0) \"{text}\")")));
    assert!(carries_an_interpreter(&large));
    assert!(!carries_an_interpreter(&vec![0; POLICY.module_bytes + 1]), "large and no module at all");
}

/// Declarations within one type: the section counts it as one.
#[test]
fn what_is_inside_a_type_counts() {
    let declarations: String = (0..20_001).map(|n| format!("(export \"e{n}\" (func))")).collect();
    let said = refusal(&format!("(component (type (instance {declarations})))"));
    assert!(said.contains("types, 20000 are allowed"), "{said}");
    let long: String = (0..40_000).map(|n| format!("(export \"a-longer-name-{n}\" (func))")).collect();
    let said = refusal(&format!("(component (type (instance {long})))"));
    assert!(said.contains("bytes of types, 524288 are allowed"), "{said}");
}

#[test]
fn exports_are_told() {
    let component = bytes(r#"(component (instance $i) (export "orbit:policy/routing@1.0.0" (instance $i)))"#);
    assert_eq!(check(&component, &POLICY).expect("a component").exports, ["orbit:policy/routing@1.0.0"]);
}

fn fields(count: usize) -> String {
    (0..count).map(|n| format!("(field \"f{n}\" u8)")).collect()
}
