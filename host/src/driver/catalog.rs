//! A workspace's catalogue files, where its instances read them.
//!
//! One place for all of them, one after the other and two at a time: Backstage knows an entity by the path of the file that it came
//! from. Under a path of its own each start would take all entities out of the catalogue and read them anew, under new ids, while
//! users look at an empty list.

use std::collections::{BTreeMap, BTreeSet};

use super::{DriverError, Home};

/// Below the home; the daemon's own, readable for the workspace's user.
pub(super) const CATALOG: &str = "catalog";

/// Makes the files these; names of those that are new or say something else now.
pub(super) fn lay(home: &Home, files: &BTreeMap<String, String>) -> Result<Vec<String>, DriverError> {
    home.create_dir(CATALOG)?;
    let mut changed = Vec::new();
    for (name, text) in files {
        if home.replace(&format!("{CATALOG}/{name}"), text.as_bytes())? {
            changed.push(name.clone());
        }
    }
    let wanted: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    for name in home.names(CATALOG)? {
        if !wanted.contains(name.as_str()) {
            home.remove_file(&format!("{CATALOG}/{name}"))?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_become_these_and_what_changed_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        let files = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        assert_eq!(lay(&home, &files(&[("a.yaml", "1"), ("b.yaml", "1")])).expect("laid"), ["a.yaml", "b.yaml"]);
        assert!(lay(&home, &files(&[("a.yaml", "1"), ("b.yaml", "1")])).expect("laid").is_empty());
        assert_eq!(lay(&home, &files(&[("b.yaml", "2")])).expect("laid"), ["b.yaml"]);
        assert_eq!(home.names(CATALOG).expect("read"), ["b.yaml"]);
    }
}
