//! The daemon's modules import only from lower floors; siblings don't know each other. The floors are written in the header
//! of `host/src/lib.rs`, and only there: this test reads them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use orbitd_tests::paths;

/// Lines without tests that a file may have.
const LONGEST_FILE: usize = 400;

/// Module → floor, from the fenced block of the header: `3  api · dashboard   (remark)`.
fn floors(header: &str) -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    let block = header.split("```text").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of floors");
    for line in block.lines() {
        let line = line.trim_start_matches("//!").trim();
        let Some((floor, modules)) = line.split_once(' ') else { continue };
        let Ok(floor) = floor.parse() else { continue };
        let modules = modules.split('(').next().unwrap_or_default();
        floors.extend(
            modules.split('·').map(|name| (name.trim().to_owned(), floor)).filter(|(name, _)| !name.is_empty()),
        );
    }
    floors
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code before the unit tests, without comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// First segments of `crate::…` paths, also inside `use crate::{a::…, b::…}`.
fn imported(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        };
        let (mut depth, mut name, mut fresh) = (0, String::new(), true);
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => name.push(c),
                c if depth == 0 && !name.is_empty() && !c.is_whitespace() => {
                    found.push(std::mem::take(&mut name));
                    fresh = false;
                }
                _ => {}
            }
            if fresh && c == ',' && !name.is_empty() {
                found.push(std::mem::take(&mut name));
            }
        }
        if !name.is_empty() {
            found.push(name);
        }
    }
    found
}

/// Every import that breaks a floor, as one line of text.
fn violations(floors: &BTreeMap<String, u32>, sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let top = floors.values().copied().max().unwrap_or(0);
    for (module, text) in sources {
        let Some(floor) = floors.get(module) else {
            found.push(format!("module {module} is on no floor: name it in the header of lib.rs"));
            continue;
        };
        for import in imported(&code(text)) {
            let Some(other) = floors.get(&import) else { continue };
            // On the ground there is only plain data, at the top only assembly: siblings there may know each other.
            let free = floor == other && (*floor == 0 || *floor == top);
            if import != *module && !free && other >= floor {
                found.push(format!("{module} (floor {floor}) imports {import} (floor {other})"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = paths::repository().join("host/src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let of = |path: &Path| {
        let first = path.strip_prefix(&root).expect("below the root").components().next().expect("a name");
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    files
        .into_iter()
        .map(|path| (of(&path), fs::read_to_string(&path).expect("readable"), path))
        .map(|(module, text, path)| (module, path, text))
        .filter(|(module, path, _)| module != "lib" && module != "main" && !is_test_module(path))
        .collect()
}

/// Whether the file above declares this one as `#[cfg(test)] mod …;`.
fn is_test_module(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_stem()) else { return false };
    let parents = [folder.join("mod.rs"), folder.with_extension("rs")];
    // Also a file beside it, which brings its tests with `#[path]`.
    let beside = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    parents.into_iter().chain(beside).any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let declaration = format!("mod {};", name.to_string_lossy());
        let by_path = format!("#[path = \"{}.rs\"]", name.to_string_lossy());
        lines.iter().enumerate().any(|(at, line)| {
            let tested = lines[at.saturating_sub(2)..at].contains(&"#[cfg(test)]");
            tested
                && (line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ") == declaration
                    || *line == by_path)
        })
    })
}

#[test]
fn modules_import_only_from_lower_floors() {
    let header = fs::read_to_string(paths::repository().join("host/src/lib.rs")).expect("readable");
    let floors = floors(&header);
    assert!(floors.len() > 10, "the floors were not understood: {floors:?}");
    let sources: Vec<_> = sources().into_iter().map(|(module, _, text)| (module, text)).collect();
    assert!(sources.len() > 20, "the sources were not found");
    let broken = violations(&floors, &sources);
    assert!(broken.is_empty(), "imports against the floors:\n  {}", broken.join("\n  "));
}

#[test]
fn the_floors_check_sees_a_broken_floor() {
    let floors = BTreeMap::from([
        ("ids".to_owned(), 0),
        ("db".to_owned(), 1),
        ("source".to_owned(), 1),
        ("api".to_owned(), 3),
        ("app".to_owned(), 4),
    ]);
    let source = |module: &str, text: &str| vec![(module.to_owned(), text.to_owned())];
    assert_eq!(violations(&floors, &source("db", "use crate::{ids::Slug, source};")).len(), 1, "a sibling");
    assert_eq!(
        violations(&floors, &source("db", "use crate::{\n    ids::{Slug, Other},\n    api::x::Y,\n};")).len(),
        1,
        "above"
    );
    assert_eq!(violations(&floors, &source("db", "fn f() -> crate::api::X")).len(), 1, "a path without use");
    assert_eq!(violations(&floors, &source("unknown", "")).len(), 1, "a module on no floor");
    let fine = "use crate::ids::Slug; // crate::api\n#[cfg(test)]\nmod tests { use crate::api; }";
    assert_eq!(violations(&floors, &source("db", fine)), Vec::<String>::new());
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(_, path, text)| (code(&text).lines().count(), path))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "files of more than {LONGEST_FILE} lines without tests:\n  {}", long.join("\n  "));
}
