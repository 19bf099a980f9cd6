//! Every way in which a folder can be wrong, and what the watch promises.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::model::{DesiredState, SecretRef, Spec};

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("workspaces")).expect("made");
        Self(dir)
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn workspace(&self, slug: &str) -> PathBuf {
        self.path().join("workspaces").join(slug)
    }
    fn write(&self, slug: &str, file: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.workspace(slug).join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
        self
    }
    fn source(&self) -> DirectorySource {
        DirectorySource::open(self.path(), Duration::from_secs(3600)).expect("opens")
    }
    async fn list(&self) -> Listing {
        self.source().list().await.expect("lists")
    }
    async fn acme(&self) -> Result<Spec, String> {
        let mut listing = self.list().await;
        listing.workspaces.remove("acme").expect("acme is listed").map_err(|rejected| rejected.to_string())
    }
    async fn rejected(&self, parts: &[&str]) {
        let reason = self.acme().await.expect_err("rejected");
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
    }
}

#[tokio::test]
async fn a_whole_workspace_is_read() {
    let tree = Tree::new();
    let toml = r#"
tier = "pro"
desired = "stopped"
plugins = ["catalog", "search"]
[app_config.app]
title = "Acme"
[app_config.integrations]
github = [{ host = "github.com", token = { "$secret" = "GITHUB_TOKEN" } }]
[secrets]
GITHUB_TOKEN = { file = "github-token" }
"#;
    tree.write("acme", "workspace.toml", toml)
        .write("acme", "catalog/a.yaml", "kind: Component\n")
        .write("acme", "catalog/b.yml", "kind: API\n")
        .write("acme", "catalog/notes.txt", "not mine")
        .write("acme", "catalog/.a.yaml.swp", "an editor's")
        .write("acme", "README.md", "not mine");
    fs::write(tree.path().join("workspaces/README.md"), "about").expect("written");
    let spec = tree.acme().await.expect("accepted");
    assert_eq!(spec.tier.as_str(), "pro");
    assert_eq!(spec.desired, DesiredState::Stopped);
    assert_eq!(spec.plugins.expect("chosen").len(), 2);
    assert_eq!(spec.app_config["app"]["title"], "Acme");
    assert_eq!(spec.secrets["GITHUB_TOKEN"], SecretRef::File("github-token".into()));
    assert_eq!(spec.catalog.keys().collect::<Vec<_>>(), ["a.yaml", "b.yml"]);
    assert_eq!(tree.list().await.ignored, vec![]);
}

#[tokio::test]
async fn a_broken_workspace_toml_names_file_line_and_key() {
    let tree = Tree::new();
    for (text, parts) in [
        ("tier = \"pro\"\ntierr = \"x\"\n", &["workspaces/acme/workspace.toml, line 2, column 1:", "tierr"][..]),
        ("tier = \"pro\"\ndesired = \"on\"\n", &["line 2", "on", "running"]),
        ("tier = \"Pro\"\n", &["line 1", "tier name"]),
        ("tier = \"pro\"\nplugins = [\"cat alog\"]\n", &["line 2", "plugin id"]),
        ("tier = \"pro\"\n[app_config\nx = 1\n", &["line 2"]),
        ("tier = \"pro\"\n[secrets]\nA = { env = \"HOME\" }\n", &["line 3", "env"]),
        ("desired = \"running\"\n", &["workspace.toml: ", "tier"]),
        ("", &["is empty", "tier"]),
        (" \n\n", &["is empty"]),
        ("tier = \"pro\"\n[secrets]\na = { file = \"x\" }\n", &["secret name", "\"a\""]),
        ("tier = \"pro\"\n[secrets]\nA = { file = \"../x\" }\n", &["secrets.A.file"]),
        ("tier = \"pro\"\n[app_config.a]\n\"$env\" = \"HOME\"\n", &["app_config.a.$env"]),
        ("tier = \"pro\"\n[app_config]\na = \"${HOME}\"\n", &["app_config.a", "environment"]),
        ("tier = \"pro\"\n[app_config]\na = { \"$secret\" = \"T\" }\n", &["secret T", "[secrets]"]),
        ("tier = \"pro\"\n[app_config]\na = nan\n", &["app_config.a", "JSON"]),
    ] {
        tree.write("acme", "workspace.toml", text);
        tree.rejected(parts).await;
    }
}

#[tokio::test]
async fn hostile_toml_ends_in_an_error_not_in_a_crash() {
    let tree = Tree::new();
    let deep_keys = format!("tier = \"pro\"\n[app_config]\n{} = 1\n", vec!["a"; 100_000].join("."));
    let deep_header = format!("tier = \"pro\"\n[app_config.{}]\n", vec!["a"; 100_000].join("."));
    let deep_lists = format!("tier = \"pro\"\n[app_config]\na = {}\n", "[".repeat(100_000));
    for text in [deep_keys, deep_header, deep_lists] {
        tree.write("acme", "workspace.toml", text);
        tree.rejected(&["workspaces/acme/workspace.toml"]).await;
    }
}

#[tokio::test]
async fn symlinks_are_never_followed() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("workspace.toml"), "tier = \"pro\"\n").expect("written");
    fs::write(outside.path().join("x.yaml"), "kind: API\n").expect("written");

    symlink(outside.path(), tree.workspace("acme")).expect("linked");
    tree.rejected(&["workspaces/acme", "symlink"]).await;
    fs::remove_file(tree.workspace("acme")).expect("removed");

    fs::create_dir(tree.workspace("acme")).expect("made");
    symlink(outside.path().join("workspace.toml"), tree.workspace("acme").join("workspace.toml")).expect("linked");
    tree.rejected(&["workspaces/acme/workspace.toml", "symlink"]).await;
    fs::remove_file(tree.workspace("acme").join("workspace.toml")).expect("removed");

    tree.write("acme", "workspace.toml", "tier = \"pro\"\n");
    symlink(outside.path(), tree.workspace("acme").join("catalog")).expect("linked");
    tree.rejected(&["workspaces/acme/catalog", "symlink"]).await;
    fs::remove_file(tree.workspace("acme").join("catalog")).expect("removed");

    fs::create_dir(tree.workspace("acme").join("catalog")).expect("made");
    symlink(outside.path().join("x.yaml"), tree.workspace("acme").join("catalog/x.yaml")).expect("linked");
    tree.rejected(&["workspaces/acme/catalog/x.yaml", "symlink"]).await;
}

#[tokio::test]
async fn only_regular_files_within_their_limits_are_read() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let tree = Tree::new();
    tree.write("acme", "catalog/a.yaml", "kind: API\n");
    tree.rejected(&["workspaces/acme holds no workspace.toml"]).await;

    let config = tree.workspace("acme").join("workspace.toml");
    mknodat(CWD, &config, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    tree.rejected(&["workspace.toml is a named pipe"]).await;
    fs::remove_file(&config).expect("removed");

    fs::create_dir(&config).expect("made");
    tree.rejected(&["workspace.toml is a folder"]).await;
    fs::remove_dir(&config).expect("removed");

    tree.write("acme", "workspace.toml", "#".repeat((256 << 10) + 1));
    tree.rejected(&["workspace.toml is larger than 256 KiB"]).await;
    tree.write("acme", "workspace.toml", b"tier = \"pro\"\n# \xff\n");
    tree.rejected(&["workspace.toml is not UTF-8 (byte 15)"]).await;
    tree.write("acme", "workspace.toml", "tier = \"pro\"\n");

    for (content, reason) in [
        (vec![b'a'; (1 << 20) + 1], "larger than 1024 KiB"),
        (b"a: \xc3\x28\n".to_vec(), "not UTF-8"),
        (b" \n\t\n".to_vec(), "is empty"),
        (b"a: \0\n".to_vec(), "NUL"),
    ] {
        tree.write("acme", "catalog/a.yaml", content);
        tree.rejected(&["workspaces/acme/catalog/a.yaml", reason]).await;
    }
    fs::remove_file(tree.workspace("acme").join("catalog/a.yaml")).expect("removed");
    fs::create_dir(tree.workspace("acme").join("catalog/sub")).expect("made");
    tree.rejected(&["catalog/sub is a folder"]).await;
    fs::remove_dir(tree.workspace("acme").join("catalog/sub")).expect("removed");

    for index in 0..9 {
        tree.write("acme", &format!("catalog/{index}.yaml"), vec![b'a'; 1 << 20]);
    }
    tree.rejected(&["workspaces/acme/catalog is larger than 8 MiB"]).await;
    fs::remove_dir_all(tree.workspace("acme").join("catalog")).expect("removed");
    for index in 0..501 {
        tree.write("acme", &format!("catalog/{index}.yaml"), "a: b\n");
    }
    tree.rejected(&["holds 501 catalogue files"]).await;
}

#[tokio::test]
async fn one_broken_folder_is_nobody_elses_business() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::new();
    tree.write("acme", "workspace.toml", "tier = \"pro\"\n")
        .write("globex", "workspace.toml", "tier = ")
        .write("Bad_Name", "workspace.toml", "tier = \"pro\"\n")
        .write(".git", "HEAD", "x");
    let odd = tree.path().join("workspaces").join(std::ffi::OsStr::from_bytes(b"x\xff"));
    fs::create_dir(odd).expect("made");
    let listing = tree.list().await;
    assert!(listing.workspaces["acme"].is_ok() && listing.workspaces["globex"].is_err());
    assert_eq!(listing.workspaces.len(), 2);
    assert_eq!(listing.ignored.len(), 2, "{:?}", listing.ignored);
    let all = format!("{:?}", listing.ignored);
    assert!(all.contains("Bad_Name") && all.contains("not UTF-8"), "{all}");
}

#[tokio::test]
async fn a_missing_root_is_an_error_and_an_empty_one_an_empty_listing() {
    let empty = tempfile::tempdir().expect("a directory");
    let open = |path: &Path| DirectorySource::open(path, Duration::from_secs(1)).err().map(|r| r.to_string());
    assert!(open(empty.path()).expect("no workspaces folder").contains("holds no folder `workspaces`"));
    assert!(open(&empty.path().join("gone")).expect("no folder").contains("gone"));
    let tree = Tree::new();
    let source = tree.source();
    assert!(source.list().await.expect("nothing wanted").workspaces.is_empty());
    fs::remove_dir(tree.path().join("workspaces")).expect("removed");
    assert!(source.list().await.is_err(), "gone is not empty");
    let elsewhere = tempfile::tempdir().expect("a directory");
    symlink(elsewhere.path(), tree.path().join("workspaces")).expect("linked");
    assert!(source.list().await.expect_err("a symlink").to_string().contains("symlink"));
}

#[tokio::test]
async fn an_unchanged_old_folder_is_not_read_again() {
    let tree = Tree::new();
    tree.write("acme", "workspace.toml", "tier = \"pro\"\n");
    let source = tree.source();
    let cached = || async {
        source.list().await.expect("lists");
        source.known.lock().await.contains_key("acme")
    };
    assert!(!cached().await, "written just now: its print can't be trusted yet");
    // The change time can't be set back, so what is old is tried on the print itself.
    let root = Folder::open_root(tree.path()).expect("opens");
    let acme = root.find("acme").expect("looks").expect("is there");
    let mut marked = entry::read(&root, &"acme".parse().expect("a slug"), &acme, None);
    marked.spec = Err(Rejected("from the cache".into()));
    let again = entry::read(&root, &"acme".parse().expect("a slug"), &acme, Some(marked));
    assert_eq!(again.spec, Err(Rejected("from the cache".into())), "same print, not read");
    tree.write("acme", "workspace.toml", "tier = \"free\"\n");
    let fresh = entry::read(&root, &"acme".parse().expect("a slug"), &acme, Some(again));
    assert_eq!(fresh.spec.expect("read again").tier.as_str(), "free");
    assert!(acme.print.is_old(std::time::SystemTime::now() + Duration::from_secs(60)));
}

#[tokio::test]
async fn a_change_after_the_list_began_is_never_lost() {
    let deadline = Duration::from_secs(20);
    let tree = Tree::new();
    tree.write("acme", "workspace.toml", "tier = \"pro\"\n");
    let source = tree.source();
    source.list().await.expect("lists");
    tree.write("acme", "workspace.toml", "tier = \"free\"\n");
    // A dropped wait takes nothing with it.
    let _ = tokio::time::timeout(Duration::from_millis(1), source.changed()).await;
    tokio::time::timeout(deadline, source.changed()).await.expect("the change is seen");
    let listing = source.list().await.expect("lists");
    assert_eq!(listing.workspaces["acme"].as_ref().expect("accepted").tier.as_str(), "free");

    // Another folder moved into place is followed.
    let other = tree.path().join("next");
    fs::create_dir_all(other.join("globex")).expect("made");
    fs::rename(tree.path().join("workspaces"), tree.path().join("old")).expect("moved");
    fs::rename(other, tree.path().join("workspaces")).expect("moved");
    assert!(source.list().await.expect("lists").workspaces["globex"].is_err());
    tokio::time::timeout(deadline, source.changed()).await.expect("the new watch asks for one more look");
    source.list().await.expect("lists");
    tree.write("globex", "workspace.toml", "tier = \"pro\"\n");
    tokio::time::timeout(deadline, source.changed()).await.expect("the change is seen");
    assert!(source.list().await.expect("lists").workspaces["globex"].is_ok());
}

#[tokio::test]
async fn without_changes_the_poll_interval_returns_and_reading_wakes_nobody() {
    let tree = Tree::new();
    tree.write("acme", "workspace.toml", "tier = \"pro\"\n");
    let source = DirectorySource::open(tree.path(), Duration::from_secs(1)).expect("opens");
    // Writes from before the watch may still be under way to it.
    source.list().await.expect("lists");
    source.changed().await;
    source.list().await.expect("lists");
    let started = Instant::now();
    source.changed().await;
    assert!(started.elapsed() >= Duration::from_millis(900), "our own reads woke us after {:?}", started.elapsed());
}
