//! Rust: a core module for `wasm32-unknown-unknown`, which imports nothing, encoded as a component.
//!
//! Where rustup can't bring the target, Debian's `rustc-web` compiles instead (facts: its standard library is built from
//! source, about 40 s the first time).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use wit_component::ComponentEncoder;

use crate::{
    Error, Output, Project, World,
    process::{find, printed, run},
    template::File,
};

/// What is compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// What `apt-get install` needs to be told.
pub const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "rust-web-src", "rust-web-llvm", "lld-19"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-19";

/// 32 KiB of stack instead of 1 MiB: fewer pages to reset after each decision. 512 KiB of memory from the start: a decision
/// never has to grow it (see the SDK's allocator).
const RUSTFLAGS: &str = "-Clink-arg=-zstack-size=32768 -Clink-arg=--initial-memory=524288";

/// What compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The one `cargo` itself uses, with the target installed.
    Rustup,
    /// Debian's compiler, with its standard library built from source.
    Debian,
}

// === impl Toolchain ===

impl Toolchain {
    /// The one that is there. Nothing is installed.
    pub fn find() -> Option<Self> {
        let sysroot = printed(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
        if !sysroot.is_empty() && Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
            return Some(Self::Rustup);
        }
        debian_is_complete().then_some(Self::Debian)
    }

    /// What the compiler says of itself: another text may compile to other bytes.
    pub fn version(self) -> String {
        let compiler = match self {
            Self::Rustup => "rustc",
            Self::Debian => DEBIAN_RUSTC,
        };
        printed(Command::new(compiler).arg("-vV")).unwrap_or_default()
    }

    /// `cargo build` of the workspace in `folder` for a policy's target; the packages are left to the caller.
    pub fn cargo_build(self, folder: &Path, target_dir: &Path) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", target_dir)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", RUSTFLAGS)
            // An outer build's flags are for the host.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args(["build", "--release", "--target", TARGET]);
        if self == Self::Debian {
            cargo
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                .env_remove("RUSTUP_TOOLCHAIN")
                .arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

/// Where [`Toolchain::cargo_build`] leaves a library; `-` in its name is `_` in the file's.
pub fn built_file(target_dir: &Path, library: &str) -> PathBuf {
    target_dir.join(TARGET).join("release").join(format!("{}.wasm", library.replace('-', "_")))
}

/// Makes a component of a core module that carries its WIT.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Error> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| Error::Encode(format!("{error:#}")))
}

/// What a project is told of its own files.
pub(crate) const FILES: &str = "\
`src/lib.rs` decides, `src/settings.json` is the schema of the settings, `wit/` the interface. `vendor/orbit-policy-sdk` is orbitd's
SDK, as it is: to update it, make a new project with a newer orbitd and take its `vendor/` and `wit/`. `cargo test` runs the unit
tests natively.";

/// The versions that orbitd's own policies are tested with; cargo drops what a project does not use.
const LOCK: &str = include_str!("../../../guests/Cargo.lock");

const SDK: [File; 7] = [
    ("vendor/orbit-policy-sdk/Cargo.toml", include_str!("../../../guests/sdk/Cargo.toml")),
    ("vendor/orbit-policy-sdk/src/about.rs", include_str!("../../../guests/sdk/src/about.rs")),
    ("vendor/orbit-policy-sdk/src/lib.rs", include_str!("../../../guests/sdk/src/lib.rs")),
    ("vendor/orbit-policy-sdk/src/memory.rs", include_str!("../../../guests/sdk/src/memory.rs")),
    ("vendor/orbit-policy-sdk/src/prepared.rs", include_str!("../../../guests/sdk/src/prepared.rs")),
    ("vendor/orbit-policy-sdk/src/words.rs", include_str!("../../../guests/sdk/src/words.rs")),
    ("vendor/orbit-policy-sdk/src/worlds.rs", include_str!("../../../guests/sdk/src/worlds.rs")),
];

pub(crate) fn template(world: World) -> Vec<File> {
    let (code, schema) = match world {
        World::Router => {
            (include_str!("../templates/rust/router/lib.rs"), include_str!("../templates/rust/router/settings.json"))
        }
        World::Authorizer => (
            include_str!("../templates/rust/authorizer/lib.rs"),
            include_str!("../templates/rust/authorizer/settings.json"),
        ),
        World::Renderer => (
            include_str!("../templates/rust/renderer/lib.rs"),
            include_str!("../templates/rust/renderer/settings.json"),
        ),
    };
    let own = [
        ("src/lib.rs", code),
        ("src/settings.json", schema),
        ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
        ("Cargo.lock", LOCK),
        (".gitignore", "/target/\n*.partial\n"),
    ];
    own.into_iter().chain(SDK).collect()
}

/// Whether a crate of this name is among the dependencies of every project.
pub(crate) fn is_dependency(name: &str) -> bool {
    let of_name = format!("name = \"{name}\"");
    LOCK.split("\n\n").any(|package| package.lines().any(|line| line == of_name) && package.contains("\nsource = "))
}

pub(crate) fn build(project: &Project, output: Output) -> Result<Vec<u8>, Error> {
    if std::env::var_os("CARGO").is_none() && find("cargo").is_none() {
        return Err(Error::Tool {
            tool: "cargo".into(),
            install: "install Rust as https://rustup.rs says, or `apt-get install -y cargo`".into(),
        });
    }
    let toolchain = Toolchain::find().ok_or_else(|| Error::Tool {
        tool: format!("the Rust target {TARGET}"),
        install: format!(
            "`rustup target add {TARGET}`, or as root `apt-get install -y --no-install-recommends {}`",
            DEBIAN_PACKAGES.join(" ")
        ),
    })?;
    let target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => std::path::absolute(project.folder.join("target")).map_err(Error::file("find", &project.folder))?,
    };
    run(&mut toolchain.cargo_build(&project.folder, &target_dir), output)?;
    let file = built_file(&target_dir, &library(&project.name));
    let module = fs::read(&file).map_err(Error::file("read", &file))?;
    encode(&module)
}

/// The library's name in the template: never a keyword, and no other crate's.
pub(crate) fn library(name: &str) -> String {
    format!("{}_policy", name.replace('-', "_"))
}

fn debian_is_complete() -> bool {
    // The sources are a package of their own, and so is the linker.
    let sysroot = printed(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).unwrap_or_default();
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    !sysroot.is_empty() && sources.is_file() && printed(Command::new(DEBIAN_LINKER).arg("--version")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_sdk_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/sdk/src");
        let mut files: Vec<String> = fs::read_dir(folder)
            .expect("the SDK")
            .flatten()
            .map(|entry| format!("vendor/orbit-policy-sdk/src/{}", entry.file_name().to_string_lossy()))
            .collect();
        files.sort();
        assert_eq!(files, SDK[1..].iter().map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>());
        assert!(is_dependency("serde") && !is_dependency("claims"));
    }

    #[test]
    fn what_is_no_policy_is_not_encoded() {
        assert!(matches!(encode(b"hello"), Err(Error::Encode(_))));
        assert_eq!(built_file(Path::new("/t"), "a-b"), Path::new("/t/wasm32-unknown-unknown/release/a_b.wasm"));
    }
}
