//! A policy project: a folder with a `policy.toml`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

use crate::Error;

/// The file that makes a folder a project.
pub const MANIFEST: &str = "policy.toml";
/// Bytes of it.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;

/// Endings of what a module is built from.
const SOURCES: [&str; 4] = ["rs", "js", "py", "json"];
/// Files of a folder that are looked at.
const MAX_SOURCES: usize = 1_000;

/// What the policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Where a request goes.
    Router,
    /// Whether the caller may.
    Authorizer,
    /// A workspace's `app-config`.
    Renderer,
}

/// What the policy is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// With the SDK of `guests/sdk`.
    Rust,
    /// With componentize-js.
    Js,
    /// With componentize-py.
    Python,
}

/// A project on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// The policy's name; the module is `<name>.wasm`.
    pub name: String,
    /// Which world.
    pub world: World,
    /// Which language.
    pub language: Language,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    world: World,
    lang: Language,
}

// === impl Project ===

impl Project {
    /// Reads the `policy.toml` of a folder.
    ///
    /// # Errors
    /// [`Error::Project`]: there is none, or it can't be understood.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let no = |reason: String| Error::Project { path: folder.to_owned(), reason };
        let file = folder.join(MANIFEST);
        let length = fs::metadata(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => no(format!("it has no {MANIFEST}")),
            _ => no(format!("{MANIFEST}: {error}")),
        })?;
        if length.len() > MAX_MANIFEST_BYTES {
            return Err(no(format!("{MANIFEST} is longer than {MAX_MANIFEST_BYTES} bytes")));
        }
        let text = fs::read_to_string(&file).map_err(|error| no(format!("{MANIFEST}: {error}")))?;
        let Manifest { name, world, lang } =
            toml::from_str(&text).map_err(|error| no(format!("{MANIFEST}: {}", error.to_string().trim_end())))?;
        check_name(&name)?;
        Ok(Self { folder: folder.to_owned(), name, world, language: lang })
    }

    /// Whether a folder says that it is one.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// A source that changed after the module was built.
    pub fn newer_source(&self) -> Option<PathBuf> {
        let built = fs::metadata(self.module()).ok()?.modified().ok()?;
        let newer = |path: &PathBuf| {
            let source = path.extension().is_some_and(|extension| SOURCES.iter().any(|known| extension == *known));
            source && fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|changed| changed > built)
        };
        [self.folder.clone(), self.folder.join("src")].iter().find_map(|folder| {
            fs::read_dir(folder).ok()?.flatten().take(MAX_SOURCES).map(|entry| entry.path()).find(newer)
        })
    }

    /// Where `build` puts the component.
    pub fn module(&self) -> PathBuf {
        in_folder(&self.folder, &format!("{}.wasm", self.name))
    }
}

/// A file of a folder, without the `./` of the folder that one stands in: it is shown.
pub fn in_folder(folder: &Path, file: &str) -> PathBuf {
    if folder == Path::new(".") { file.into() } else { folder.join(file) }
}

/// The rule of the host for a policy's name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let refused = |rule| Err(Error::Name { name: name.chars().take(64).collect(), rule });
    let valid = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        return refused("it must start with a-z and hold at most 40 of a-z, 0-9 and '-'");
    }
    if name.ends_with('-') || name.contains("--") {
        return refused("it also names a package, where a '-' stands between two other characters");
    }
    Ok(())
}

// === impl World ===

impl World {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Router, Self::Authorizer, Self::Renderer];

    /// As on the command line and in `policy.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Authorizer => "authorizer",
            Self::Renderer => "renderer",
        }
    }
}

impl FromStr for World {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|world| world.name() == text);
        found.ok_or_else(|| format!("{text:?} is no world: router, authorizer or renderer"))
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Language ===

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rust, Self::Js, Self::Python];

    /// As on the command line and in `policy.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
        }
    }
}

impl FromStr for Language {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|language| language.name() == text);
        found.ok_or_else(|| format!("{text:?} is no language with a template: rust, js or python"))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
