//! Where authors' commands load modules: an engine of their own, compiling in the same limited child as the daemon's, with a
//! cache of its own under the user's cache folder.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use orbit_engine::{CacheKey, Compiled, Compiler, LoadError, MAX_MODULE_BYTES, Runtime};
use serde_json::Value;

use super::{Failure, Global, files, output::Progress};
use crate::policy::{Class, Isolation, load_or_create_cache_key};

/// Work that is over sooner says nothing.
const QUIET: Duration = Duration::from_secs(2);

/// Compiles modules.
pub struct Workbench {
    /// The compiler; its runtime is the only one of this process.
    pub compiler: Compiler,
    quiet: bool,
}

/// A module as it was read.
pub struct Module {
    /// From where.
    pub path: PathBuf,
    /// All of it, or one byte more than is allowed.
    pub bytes: Vec<u8>,
}

// === impl Module ===

impl Module {
    /// The smallest class that it fits.
    pub fn class(&self) -> Class {
        Class::fitting(&self.bytes)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            let advice = match error.kind() {
                std::io::ErrorKind::NotFound => "; `orbitd policy build` makes the module of a project",
                _ => "",
            };
            Failure::usage(format!("cannot read the module {}: {error}{advice}", path.display()))
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(refused)?;
        // One more than allowed, so that the engine's own check sees that it is too long.
        file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(refused)?;
        Ok(Self { path: path.to_owned(), bytes })
    }
}

// === impl Workbench ===

impl Workbench {
    /// Starts an engine.
    ///
    /// # Errors
    /// This machine does not let it (`ulimit -v`), or this program can't find itself.
    pub fn open(global: &Global) -> Result<Self, Failure> {
        // Without a cache everything works, and a module in JavaScript is compiled for seconds each time.
        let cache = cache().map(|(folder, key)| (folder, CacheKey::new(&key)));
        match Self::with(global, cache) {
            Err(_) => Self::without_cache(global),
            opened => opened,
        }
    }

    /// The same, where each compilation is one.
    ///
    /// # Errors
    /// As [`Workbench::open`].
    pub fn without_cache(global: &Global) -> Result<Self, Failure> {
        Self::with(global, None)
    }

    fn with(global: &Global, cache: Option<(PathBuf, CacheKey)>) -> Result<Self, Failure> {
        let isolation = isolation()?;
        let failed = |error: LoadError| Failure::failed(error.to_string());
        let runtime = Runtime::start().map_err(failed)?;
        let cache = cache.as_ref().map(|(folder, key)| (folder.as_path(), key.clone()));
        let compiler = Compiler::new(runtime, isolation, cache).map_err(failed)?;
        Ok(Self { compiler, quiet: global.json })
    }

    /// Compiles; says so if it takes long. Also how long it took.
    pub fn compile(&self, module: &Module) -> (Result<Compiled, LoadError>, Duration) {
        let began = Instant::now();
        let what = format!("compiling {}", module.path.display());
        let compiled =
            with_progress(&what, self.quiet, || self.compiler.compile_as(&module.bytes, module.class().shape()));
        (compiled, began.elapsed())
    }
}

/// Who compiles: this program under its hidden verb, with limits.
pub fn isolation() -> Result<Isolation, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's own file, to compile with: {error}")))?;
    Ok(Isolation::Child { program, args: vec!["compile-policy".into()] })
}

/// This user's folder of compiled code, and the key that its files are signed with; `None` where there can be none.
pub fn cache() -> Option<(PathBuf, [u8; 32])> {
    let folder = cache_folder()?;
    fs::create_dir_all(folder.parent()?).ok()?;
    let key = load_or_create_cache_key(&folder.with_extension("key")).ok()?;
    Some((folder, key))
}

fn cache_folder() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("orbitd/policy-code"))
}

/// Runs `work` on a thread; past two seconds what it does is shown.
pub fn with_progress<R: Send>(what: &str, quiet: bool, work: impl FnOnce() -> R + Send) -> R {
    let (done, finished) = sync_channel::<()>(1);
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // Dropped at the end, also by a panic: the wait below ends with it.
            let _done = done;
            work()
        });
        let began = Instant::now();
        let mut progress = Progress::new(quiet);
        while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(Duration::from_millis(200)) {
            if began.elapsed() > QUIET {
                progress.update(what, began.elapsed());
            }
        }
        progress.clear();
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Settings from a `.toml` or `.json` file as JSON text; `{}` without one.
///
/// # Errors
/// It can't be read or is neither.
pub fn settings(file: Option<&Path>) -> Result<String, Failure> {
    match file {
        Some(file) => Ok(Value::Object(files::object(file, "the settings")?).to_string()),
        None => Ok("{}".to_owned()),
    }
}
