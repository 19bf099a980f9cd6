//! From a module's bytes to runnable code: cache, or check and compile.

use std::{
    ffi::OsString,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use wasmtime::{Engine, component::Component};

use crate::{
    CacheKey, LoadError, Runtime, World,
    cache::{Cache, MAX_CODE_BYTES},
    compile_child::CLASS_VARIABLE,
    shape::{self, ShapeLimits},
    trusted::TrustedCode,
};

/// Of what the child says on standard error.
const MAX_ERROR_BYTES: u64 = 4 << 10;

/// Where compilation happens.
#[derive(Debug, Clone)]
pub enum Isolation {
    /// In a child process with limits: this program, with arguments that make it call [`crate::compile_child::run`].
    Child {
        /// Usually `/proc/self/exe`'s target.
        program: PathBuf,
        /// The hidden verb.
        args: Vec<OsString>,
    },
    /// In this process, without limits: for tests and tools, whose modules are trusted.
    InProcess,
}

/// Compiles and remembers. Blocking: call it off the request path.
pub struct Compiler {
    runtime: Arc<Runtime>,
    isolation: Isolation,
    cache: Option<Cache>,
}

/// A compiled module; cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    pub(crate) component: Component,
    pub(crate) exports: Arc<[String]>,
    digest: [u8; 32],
}

// === impl Compiled ===

impl Compiled {
    /// SHA-256 of the module's bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
    /// Which world it was built for.
    ///
    /// # Errors
    /// None of ours, or of a version that this host does not speak.
    pub fn world(&self) -> Result<World, LoadError> {
        World::of(&self.exports)
    }
}

/// What compiled code depends on beside the module: Wasmtime's version and settings.
fn engine_hash(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

// === impl Compiler ===

impl Compiler {
    /// A compiler for `runtime`. `cache` is a folder of this daemon alone, and the key that its files are signed with.
    pub fn new(
        runtime: Arc<Runtime>,
        isolation: Isolation,
        cache: Option<(&Path, CacheKey)>,
    ) -> Result<Self, LoadError> {
        let engine = engine_hash(&runtime.engine);
        let cache = cache.map(|(folder, key)| Cache::open(folder, key, engine)).transpose()?;
        Ok(Self { runtime, isolation, cache })
    }

    /// Checks and compiles one policy. Tens of milliseconds, one from the cache.
    pub fn compile(&self, module: &[u8]) -> Result<Compiled, LoadError> {
        self.compile_as(module, &ShapeLimits::POLICY)
    }

    /// The same for a module of a class. An interpreter takes seconds, 40 ms from the cache.
    pub fn compile_as(&self, module: &[u8], class: &ShapeLimits) -> Result<Compiled, LoadError> {
        // Also for what is cached: it takes a millisecond, and says which world it is.
        let shape = shape::check(module, class).map_err(|error| match error {
            LoadError::Shape(reason) if shape::carries_an_interpreter(module) => LoadError::Shape(format!(
                "{reason}; a module that carries an interpreter (JavaScript, Python) needs class = \"language\" in its binding"
            )),
            error => error,
        })?;
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, module).as_ref());
        let done = |component| Compiled { component, exports: shape.exports.into(), digest: sum };
        if let Some(cache) = &self.cache
            && let Some(code) = cache.get(&sum)
        {
            match code.load(&self.runtime.engine) {
                Ok(component) => return Ok(done(component)),
                // Of another version of the engine whose hash is the same: not harmful, not usable.
                Err(_) => cache.remove(&sum),
            }
        }
        let code = match &self.isolation {
            Isolation::Child { program, args } => compile_in_child(program, args, module, class)?,
            Isolation::InProcess => TrustedCode(
                self.runtime
                    .engine
                    .precompile_component(module)
                    .map_err(|error| LoadError::Compile(format!("{error:#}")))?,
            ),
        };
        let component = code.load(&self.runtime.engine)?;
        if let Some(cache) = &self.cache {
            cache.put(&sum, &code);
        }
        Ok(done(component))
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }
}

fn compile_in_child(
    program: &Path,
    args: &[OsString],
    module: &[u8],
    class: &ShapeLimits,
) -> Result<TrustedCode, LoadError> {
    let failed = |action| move |error: io::Error| LoadError::compiler(action, &error);
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env(CLASS_VARIABLE, class.name)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("starting the compiling process"))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(LoadError::Compiler { action: "starting the compiling process", reason: "no pipes".into() });
    };
    let module = module.to_vec();
    // A thread per pipe: whichever end is slow, nothing waits for ever, because the kill below closes them all.
    thread::spawn(move || {
        let _ = stdin.write_all(&module);
    });
    let complaint = read_in_thread(stderr, MAX_ERROR_BYTES);
    let code = read_in_thread(stdout, MAX_CODE_BYTES as u64);
    let outcome = code.recv_timeout(class.compile_deadline);
    if outcome.is_err() {
        let _ = child.kill();
    }
    let status = reap(&mut child).map_err(failed("waiting for the compiling process"))?;
    match outcome {
        Ok(code) if status.success() && (code.len() as u64) < MAX_CODE_BYTES as u64 => Ok(TrustedCode(code)),
        Ok(_) => {
            let complaint = complaint.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            let complaint = String::from_utf8_lossy(&complaint);
            let said = complaint.trim();
            Err(LoadError::Compile(match said {
                "" => format!("the compiling process ended with {status}: out of CPU time or memory"),
                said => said.chars().take(1000).collect(),
            }))
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(LoadError::Compile(format!("it took longer than {} s", class.compile_deadline.as_secs())))
        }
    }
}

fn read_in_thread(pipe: impl Read + Send + 'static, limit: u64) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.take(limit).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// After its output ended, or after a kill: the child is gone or about to go.
fn reap(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    child.wait()
}

#[cfg(test)]
mod tests {
    use wasmtime::ModuleVersionStrategy;

    use super::*;
    use crate::runtime::compile_config;

    /// Row W-32: what another version of Wasmtime compiled is looked for under another name; and where it lies under ours, with a good
    /// MAC, it is thrown away and made anew.
    #[test]
    fn code_of_another_wasmtime_is_not_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("cache");
        let runtime = Runtime::start().expect("an engine");
        let other = {
            let mut config = compile_config();
            config.module_version(ModuleVersionStrategy::Custom("another".to_owned())).expect("a version");
            Engine::new(&config).expect("an engine")
        };
        let ours = engine_hash(&runtime.engine);
        assert_ne!(ours, engine_hash(&other), "the version is part of the name");

        let module = wat::parse_str("(component)").expect("a component");
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, &module).as_ref());
        let key = CacheKey::new(&[3; 32]);
        let cache = Cache::open(&folder, key.clone(), ours).expect("opened");
        let theirs = other.precompile_component(&module).expect("compiled");
        cache.put(&sum, &TrustedCode(theirs.clone()));
        assert!(cache.get(&sum).is_some(), "there it lies, and its MAC is good");
        let compiler = Compiler::new(runtime, Isolation::InProcess, Some((&folder, key))).expect("a compiler");
        compiler.compile(&module).expect("compiled anew");
        let kept = cache.get(&sum).expect("kept anew");
        assert!(kept.0 != theirs, "ours instead of theirs");
    }
}
