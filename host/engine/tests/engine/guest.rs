//! The files of `guests/hostile/zoo`.

use std::{fs, path::Path};

use orbit_engine::Limits;
use wit_component::StringEncoding;

use crate::by_hand::{LIMITS, Parts, assemble, hostile};

/// A guest and what must become of it.
pub struct Guest {
    pub name: String,
    pub rows: String,
    pub outcome: String,
    pub says: String,
    pub cost: String,
    pub limits: Limits,
    pub module: Vec<u8>,
}

impl Guest {
    pub fn all() -> Vec<Self> {
        let mut files: Vec<_> = fs::read_dir(hostile().join("zoo")).expect("the zoo").flatten().collect();
        files.sort_by_key(fs::DirEntry::path);
        files.iter().map(|file| Self::read(&file.path())).collect()
    }

    pub fn named(name: &str) -> Self {
        Self::read(&hostile().join("zoo").join(format!("{name}.wat")))
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a guest");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (mut header, mut parts, mut part) = (Parts::new(), Parts::new(), None::<String>);
        for line in text.lines() {
            if let Some(times) = line.strip_prefix(";;@times ") {
                let (count, text) = times.split_once(' ').expect("a count and a text");
                let count: usize = count.parse().expect("a count");
                let text: String = (1..=count).map(|n| format!("{}\n", text.replace("{n}", &n.to_string()))).collect();
                parts.entry(part.clone().expect("inside a part")).or_default().push_str(&text);
            } else if let Some(next) = line.strip_prefix(";;@") {
                part = Some(next.to_owned());
            } else if let Some(part) = &part {
                parts.entry(part.clone()).or_default().extend([line, "\n"]);
            } else if let Some((key, value)) = line.strip_prefix(";; ").and_then(|line| line.split_once(": ")) {
                header.insert(
                    if key.starts_with("W-") { "rows" } else { key }.to_owned(),
                    match key {
                        rows if rows.starts_with("W-") => rows.to_owned(),
                        _ => value.to_owned(),
                    },
                );
            }
        }
        let encoding = match header.get("encoding").map(String::as_str) {
            Some("utf16") => StringEncoding::UTF16,
            _ => StringEncoding::UTF8,
        };
        let memory = header.get("memory").and_then(|text| text.strip_suffix(" MiB")?.parse::<usize>().ok());
        let field = |key: &str| header.get(key).cloned().unwrap_or_default();
        Self {
            rows: field("rows"),
            outcome: field("outcome"),
            says: field("says"),
            cost: field("cost"),
            limits: Limits { memory_bytes: memory.map_or(LIMITS.memory_bytes, |mib| mib << 20), ..LIMITS },
            module: assemble(&parts, encoding),
            name,
        }
    }
}
