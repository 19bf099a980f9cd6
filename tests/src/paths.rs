//! Where the things under test are: the binary, the distributions, the policies.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The repository's root.
pub fn repository() -> PathBuf {
    // Cargo's word at run time first: with one target directory for several clones, this code may have been compiled in another.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().expect("the crate is a folder of the repository").to_owned()
}

/// The `orbitd` under test: `ORBITD_BIN`, else the one beside this test's own binary (`cargo test --workspace` builds both).
///
/// # Panics
/// Where there is none; the text says how to make it.
pub fn orbitd() -> PathBuf {
    beside("ORBITD_BIN", "orbitd", "cargo build --release -p orbitd")
}

/// A program of this crate, by name.
///
/// # Panics
/// Where there is none.
pub fn helper(name: &str) -> PathBuf {
    beside("ORBITD_TEST_BIN_DIR_UNSET", name, "cargo build --release -p orbitd-tests --bins")
}

fn beside(variable: &str, name: &str, how: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let own = std::env::current_exe().expect("this program has a path");
    // target/release/deps/suite-… or target/release/<program>
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no {name} beside {}: run `{how}` with the same target directory", own.display()))
}

/// The installed Backstage: `ORBITD_TEST_DISTRIBUTION`, else the one in the cache that `make test` filled.
///
/// # Panics
/// Where it is not installed: the tests never install it themselves, several of them run at once.
pub fn backstage() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("ORBITD_TEST_DISTRIBUTION") {
            return path.into();
        }
        let script = repository().join("distribution/install.sh");
        let output = Command::new(&script).arg("--key").output().expect("distribution/install.sh --key runs");
        let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let path = cache().join("distribution").join(&key);
        assert!(
            path.join("distribution.json").is_file(),
            "the distribution is not installed in {}: run `make distribution` once",
            path.display()
        );
        path
    })
}

/// The stand-in for Backstage that answers with what it was asked.
pub fn echo() -> PathBuf {
    repository().join("tests/echo")
}

/// The S3-compatible server of `tests/s3`, a script for node.
///
/// # Panics
/// Where it is not installed.
pub fn s3_server() -> PathBuf {
    let path = cache().join("tools/s3rver-3.7.1/node_modules/s3rver/bin/s3rver.js");
    assert!(path.is_file(), "{} is not installed: `make test` does that", path.display());
    path
}

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
    base.join("orbitd")
}
