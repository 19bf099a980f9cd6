//! The compiling child: the daemon's own program under another verb. It reads a module from standard input and writes native
//! code to standard output; it has no other input but the name of the module's class, and limits on CPU time, address space and
//! files.
//!
//! The program that hosts this crate calls [`run`] for a hidden verb and names that verb to [`crate::Compiler`].

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use wasmtime::Engine;

use crate::{runtime::compile_config, shape::ShapeLimits};

/// The child's only variable: the class of the module, which decides what compiling it may cost.
pub(crate) const CLASS_VARIABLE: &str = "ORBIT_COMPILE_CLASS";

/// A third of a usual process's weight, where both want the processor.
const NICE: i32 = 5;

/// Compiles standard input to standard output. A failure is a line on standard error and exit code 1.
pub fn run() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    let class = ShapeLimits::named(&std::env::var(CLASS_VARIABLE).unwrap_or_default());
    limit(&class).map_err(|error| format!("cannot limit itself: {error}"))?;
    let mut module = Vec::new();
    let limit = class.module_bytes as u64 + 1;
    io::stdin().take(limit).read_to_end(&mut module).map_err(|error| format!("cannot read the module: {error}"))?;
    let engine = Engine::new(&compile_config()).map_err(|error| format!("cannot start the compiler: {error:#}"))?;
    let code = engine.precompile_component(&module).map_err(|error| format!("{error:#}"))?;
    io::stdout().write_all(&code).and_then(|()| io::stdout().flush()).map_err(|error| format!("cannot answer: {error}"))
}

fn limit(class: &ShapeLimits) -> rustix::io::Result<()> {
    // Somebody else's requests come first. Measured: the worst 4 MB that the checks let pass take 10 CPU seconds.
    let _ = setpriority_process(None, NICE);
    let limits = [
        (Resource::Cpu, class.compile_cpu_s),
        (Resource::As, class.compile_address_space),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, amount) in limits {
        setrlimit(resource, Rlimit { current: Some(amount), maximum: Some(amount) })?;
    }
    Ok(())
}
