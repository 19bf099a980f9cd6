//! What was released stays: the frozen interface, and modules that were built against it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use orbit_engine::{Compiler, Isolation, Runtime, SPOKEN_VERSIONS};

use super::{
    Class,
    cases::{self, CaseFile, Subject},
};

/// Every release, and the SHA-256 of its `SHA256SUMS`.
const RELEASES: &[(&str, &str)] = &[("1.0.0", "0cc0e5b649bc9e17246313955c3d34aa0c4ff169367ee038b2c8c761051db5c3")];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

/// Files of a folder, with those of folders in it, by relative name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if entry.path().is_dir() {
            let inner = files(&entry.path()).into_iter();
            found.extend(inner.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).expect("readable"));
        }
    }
    found
}

/// Why a release is not as it was.
fn changes(folder: &Path, digest: &str) -> Vec<String> {
    let mut found = files(folder);
    let sums = found.remove("SHA256SUMS").expect("a list of digests");
    let mut changes = Vec::new();
    if sha256(&sums) != digest {
        changes.push("SHA256SUMS changed".to_owned());
    }
    for line in String::from_utf8_lossy(&sums).lines() {
        let (digest, name) = line.split_once("  ").expect("digest and name");
        match found.remove(name) {
            None => changes.push(format!("{name} is gone")),
            Some(bytes) if sha256(&bytes) != digest => changes.push(format!("{name} changed")),
            Some(_) => {}
        }
    }
    changes.extend(found.into_keys().map(|name| format!("{name} is not in SHA256SUMS")));
    changes
}

#[test]
fn no_frozen_file_ever_changes() {
    let released = wit().join("released");
    let mut folders: Vec<String> = fs::read_dir(&released)
        .expect("releases")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    folders.sort();
    assert_eq!(folders, RELEASES.iter().map(|(version, _)| (*version).to_owned()).collect::<Vec<_>>());
    for (version, digest) in RELEASES {
        assert_eq!(changes(&released.join(version), digest), [""; 0], "orbit:policy {version} is released");
    }
}

#[test]
fn a_changed_frozen_file_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let release = wit().join("released/1.0.0");
    fs::create_dir(dir.path().join("fixtures")).expect("made");
    for (name, bytes) in files(&release) {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    let digest = RELEASES[0].1;
    assert_eq!(changes(dir.path(), digest), [""; 0]);
    let types = dir.path().join("types.wit");
    let text = fs::read_to_string(&types).expect("readable");
    fs::write(&types, text.replace("status: u16", "status: u32")).expect("written");
    fs::write(dir.path().join("more.wit"), "").expect("written");
    fs::remove_file(dir.path().join("router.wit")).expect("removed");
    assert_eq!(
        changes(dir.path(), digest),
        ["router.wit is gone", "types.wit changed", "more.wit is not in SHA256SUMS"]
    );
}

#[test]
fn the_interface_is_the_release_of_its_version_and_every_spoken_version_is_released() {
    for (name, text) in files(&wit()).into_iter().filter(|(name, _)| !name.contains('/')) {
        let text = String::from_utf8(text).expect("text");
        let version = text.lines().next().and_then(|line| line.strip_prefix("package orbit:policy@"));
        let version = version.expect("a package").trim_end_matches(';');
        let released = wit().join("released").join(version).join(&name);
        if RELEASES.iter().any(|(release, _)| *release == version) {
            let frozen = fs::read_to_string(&released).expect("released");
            assert!(frozen == text, "{name} is not what was released as {version}: see wit/released/README.md");
        }
    }
    for spoken in SPOKEN_VERSIONS {
        assert!(RELEASES.iter().any(|(version, _)| version.starts_with(&format!("{spoken}."))), "{spoken}");
    }
}

#[test]
fn modules_built_against_a_release_decide_as_they_did() {
    let compiler = Compiler::new(Runtime::start().expect("an engine"), Isolation::InProcess, None).expect("a compiler");
    let tier = "pro".parse().expect("a tier");
    for (version, _) in RELEASES {
        let fixtures = files(&wit().join("released").join(version).join("fixtures"));
        let modules: Vec<_> = fixtures.iter().filter(|(name, _)| name.ends_with(".wasm")).collect();
        assert!(modules.len() >= 4, "{version} has one module of each world and one of the SDK: {:?}", fixtures.keys());
        for (name, module) in modules {
            let compiled = compiler.compile(module).unwrap_or_else(|error| panic!("{version} {name}: {error}"));
            let world = compiled.world().unwrap_or_else(|error| panic!("{version} {name}: {error}"));
            let text = &fixtures[&name.replace(".wasm", ".test.toml")];
            let cases = CaseFile::parse(std::str::from_utf8(text).expect("text")).expect("cases");
            let limits = Class::Policy.default_limits(world);
            let subject =
                Subject { compiler: &compiler, compiled: &compiled, world, settings: "{}", limits, tier: &tier };
            let report = cases::run(&subject, &cases).expect("run");
            let failed: Vec<String> =
                report.failed().map(|case| format!("{}: {}", case.name, case.complaint())).collect();
            assert_eq!(failed, [""; 0], "{version} {name}");
        }
    }
}
