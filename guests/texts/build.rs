//! Parsers, validators and compilers recurse deeper than a policy written in Rust, and hold more tables. Both flags stand behind
//! xtask's and win.

fn main() {
    // A native build, as `cargo test` makes it, has another linker.
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        for flag in ["-zstack-size=262144", "--initial-memory=2097152"] {
            println!("cargo::rustc-link-arg-cdylib={flag}");
        }
    }
    println!("cargo::rerun-if-changed=../build.rs");
}
