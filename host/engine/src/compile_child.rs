//! The compiling child: the daemon's own program under another verb. It reads a module from standard input and writes native
//! code to standard output; it has no other input, no environment, and limits on CPU time, address space and files.
//!
//! The program that hosts this crate calls [`run`] for a hidden verb and names that verb to [`crate::Compiler`].

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;

use crate::{MAX_MODULE_BYTES, runtime::compile_config};

/// CPU seconds of one compilation, all threads together; a policy takes a tenth of one.
pub(crate) const MAX_CPU_SECONDS: u64 = 20;
/// Address space, bytes. Measured: a policy of 150 kB takes 150 MB.
const MAX_ADDRESS_SPACE: u64 = 2 << 30;

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
    limit().map_err(|error| format!("cannot limit itself: {error}"))?;
    let mut module = Vec::new();
    let limit = MAX_MODULE_BYTES as u64 + 1;
    io::stdin().take(limit).read_to_end(&mut module).map_err(|error| format!("cannot read the module: {error}"))?;
    let engine = Engine::new(&compile_config()).map_err(|error| format!("cannot start the compiler: {error:#}"))?;
    let code = engine.precompile_component(&module).map_err(|error| format!("{error:#}"))?;
    io::stdout().write_all(&code).and_then(|()| io::stdout().flush()).map_err(|error| format!("cannot answer: {error}"))
}

fn limit() -> rustix::io::Result<()> {
    for (resource, amount) in
        [(Resource::Cpu, MAX_CPU_SECONDS), (Resource::As, MAX_ADDRESS_SPACE), (Resource::Fsize, 0), (Resource::Core, 0)]
    {
        setrlimit(resource, Rlimit { current: Some(amount), maximum: Some(amount) })?;
    }
    Ok(())
}
