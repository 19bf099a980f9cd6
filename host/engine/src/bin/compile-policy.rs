//! The compiling child on its own, for this crate's tests: `orbitd` is its own child under a hidden verb.

fn main() -> std::process::ExitCode {
    orbit_engine::compile_child::run()
}
