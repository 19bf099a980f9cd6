//! What a policy author does without a daemon: `orbitd policy new`, `build`, `check`, `test`, `bench`, `explain`; and what each
//! says of input that is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use orbitd_tests::{Setup, daemon::run_within, paths, wait};
use serde_json::{Value, json};

/// A new user's empty directory.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }

    /// `orbitd policy …` in this directory. All projects are built in one place that outlives the test, so that what they depend on
    /// is compiled once: half a minute of CPU time the first time.
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(Some(&self.path("cache")), arguments)
    }

    /// With this cache folder, or the user's own, where the tools of `make guests` are.
    fn run_with(&self, cache: Option<&Path>, arguments: &[&str]) -> Output {
        let mut command = Command::new(paths::orbitd());
        command.arg("policy").args(arguments).current_dir(self.dir.path());
        command.env("CARGO_TARGET_DIR", authored());
        if let Some(cache) = cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ORBITD") || name.starts_with("CARGO_")) {
            if name != "CARGO_HOME" && name != "CARGO_TARGET_DIR" {
                command.env_remove(name);
            }
        }
        run_within(command, wait::seconds(300))
    }

    /// It works; what it printed.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.good(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// It fails with this exit code and all these words; everything it said.
    fn bad(&self, code: i32, arguments: &[&str], words: &[&str]) -> String {
        let output = self.run(arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}:\n{text}");
        for word in words {
            assert!(text.contains(word), "{arguments:?}: {word:?} is not said in:\n{text}");
        }
        assert!(!text.contains("panicked"), "{text}");
        text
    }
}

/// Where what the tests build outlives them.
fn authored() -> PathBuf {
    let program = paths::orbitd();
    program.parent().and_then(Path::parent).expect("a target directory").join("authored")
}

fn released(name: &str) -> PathBuf {
    paths::repository().join("wit/released/1.0.0/fixtures").join(name)
}

fn shipped(name: &str) -> String {
    paths::repository().join("policies/modules").join(name).display().to_string()
}

#[test]
fn a_new_project_of_each_world_builds_and_passes_its_tests_at_once() {
    let desk = Desk::new();
    for world in ["router", "authorizer", "renderer"] {
        let name = format!("my-{world}");
        let made = desk.good(&["new", "--world", world, "--lang", "rust", &name]);
        assert!(made.contains(&format!("cd {name}")) && made.contains("orbitd policy build"), "{made}");
        let built = desk.json(&["build", &name]);
        let module = built["module"].as_str().expect("a module").to_owned();
        assert!(built["bytes"].as_u64().expect("bytes") < 200_000, "{built}");
        let checked = desk.json(&["check", &module]);
        assert_eq!((&checked["ok"], &checked["world"]), (&json!(true), &json!(world)), "{checked}");
        let tested = desk.json(&["test", &name]);
        assert_eq!(tested["failed"], 0, "{tested}");
        assert!(tested["passed"].as_u64().expect("a number") >= 4, "{tested}");
    }
    a_failing_case_is_shown(&desk);
    a_mistake_in_the_source_is_the_compilers_to_say(&desk);
}

fn a_failing_case_is_shown(desk: &Desk) {
    let cases = fs::read_to_string(desk.path("my-router/policy.test.toml")).expect("cases");
    desk.write("my-router/policy.test.toml", cases.replacen("status = 404", "status = 403", 1));
    let text =
        desk.bad(1, &["test", "my-router"], &["FAILED", "refuse.status: expected 403", "got      404", "1 failed"]);
    assert!(
        text.contains(r#"it was passed {"workspace":"acme","tier":"free","path":"/api/kubernetes/clusters"}"#),
        "{text}"
    );
    desk.bad(1, &["test", "my-router", "--json"], &[r#""failed": 1"#, r#""at": "refuse.status""#]);
    desk.good(&["test", "my-router", "--case", "browser app"]);
    let bench = desk.json(&["bench", "my-router/my-router.wasm", "--seconds", "0.05"]);
    let rows = bench["decisions"].as_array().expect("rows");
    assert_eq!(rows.len(), 4, "{bench}");
    assert!(
        rows.iter().all(|row| row["p50_us"].as_f64() > Some(0.0) && row["p99_us"].as_f64() >= row["p50_us"].as_f64())
    );
    assert!(bench["least_memory_bytes"].as_u64() <= Some(1 << 20), "{bench}");
}

fn a_mistake_in_the_source_is_the_compilers_to_say(desk: &Desk) {
    let before = fs::read(desk.path("my-router/my-router.wasm")).expect("a module");
    let source = fs::read_to_string(desk.path("my-router/src/lib.rs")).expect("a source");
    desk.write("my-router/src/lib.rs", source.replacen("fn route(", "fn rout(", 1));
    desk.bad(1, &["build", "my-router"], &["error[E0407]", "rout", "cargo build", "failed"]);
    desk.bad(1, &["build", "my-router", "--json"], &["error[E0407]"]);
    assert_eq!(fs::read(desk.path("my-router/my-router.wasm")).expect("still there"), before, "the old module stays");
}

/// A module carries its interpreter: building one takes 10 s, compiling it 25 s of CPU time. Both are done once per template.
#[test]
fn projects_in_javascript_and_python_build_and_pass_their_tests() {
    let desk = Desk::new();
    for (lang, world) in [("js", "router"), ("python", "authorizer")] {
        let name = format!("{lang}-{world}");
        let made = desk.json(&["new", "--world", world, "--lang", lang, &name]);
        let mut text = Vec::new();
        for file in made["files"].as_array().expect("files") {
            text.extend(fs::read(desk.path(&name).join(file.as_str().expect("a path"))).expect("readable"));
        }
        let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        let kept = authored().join(format!("{name}-{}.wasm", hex::encode(key)));
        let module = desk.path(&name).join(format!("{name}.wasm"));
        if kept.is_file() {
            fs::copy(&kept, &module).expect("copied");
        } else {
            let built = desk.run_with(None, &["build", &name, "--json"]);
            assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
            fs::create_dir_all(authored()).expect("made");
            fs::copy(&module, &kept).expect("copied");
        }
        let tested = desk.run_with(Some(&authored().join("cache")), &["test", &name]);
        let said = format!("{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
        assert!(tested.status.success() && said.contains(", 0 failed"), "{name}: {said}");
    }
}

#[test]
fn a_project_that_cannot_be_made_says_why_and_nothing_is_overwritten() {
    let desk = Desk::new();
    desk.bad(2, &["new", "--world", "router", "My Policy"], &["My Policy", "a-z, 0-9 and '-'"]);
    desk.bad(2, &["new", "--world", "ruler", "x"], &["ruler", "router, authorizer or renderer"]);
    desk.bad(2, &["new", "--world", "router", "--lang", "cobol", "x"], &["cobol", "rust, js or python"]);
    desk.bad(2, &["new", "--world", "router", "serde"], &["serde", "a crate that it depends on"]);
    for lang in ["js", "python"] {
        desk.good(&["new", "--world", "authorizer", "--lang", lang, &format!("in-{lang}")]);
    }
    let mine = desk.write("in-js/policy.js", "// mine");
    desk.bad(4, &["new", "--world", "authorizer", "--lang", "js", "in-js"], &["in-js exists already"]);
    assert_eq!(fs::read_to_string(mine).expect("still there"), "// mine");
    desk.bad(2, &["build", "nowhere"], &["nowhere is no policy project", "policy.toml", "orbitd policy new"]);
    // Without the tool: which one, and the command that brings it.
    desk.bad(
        1,
        &["build", "in-python"],
        &["componentize-py 0.25.0", "is not installed", "pip install -r requirements.txt"],
    );
    desk.bad(1, &["build", "in-js"], &["componentize-js 0.23.0", "is not installed", "npm install"]);
}

#[test]
fn check_says_in_a_sentence_what_is_wrong_with_a_module() {
    let desk = Desk::new();
    let good = fs::read(shipped("route-plugins.wasm")).expect("built");
    let frozen = fs::read(released("router.wasm")).expect("a fixture");
    let newer = replaced(&frozen, b"@1.0.0", b"@2.0.0");
    // An import section more: `(import "f" (func (type 0)))`.
    let asking = [frozen.as_slice(), b"\x0a\x06\x01\0\x01f\x01\0"].concat();
    let huge = desk.path("huge.wasm");
    fs::File::create(&huge).expect("made").set_len(256 << 20).expect("sparse");
    for (name, bytes, sentence) in [
        ("garbage.wasm", b"hello, I am no module".to_vec(), "this is no WebAssembly file"),
        ("empty.wasm", Vec::new(), "this is no WebAssembly file"),
        ("cut.wasm", good[..good.len() / 2].to_vec(), "it ends early or is damaged"),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "this is a core WebAssembly module, not a component"),
        (
            "newer.wasm",
            newer,
            "built against orbit:policy 2.0 (it exports orbit:policy/routing@2.0.0), this host speaks 1.0",
        ),
        ("asking.wasm", asking, "it imports f: a policy imports nothing"),
        ("none.wasm", b"\0asm\x0d\0\x01\0".to_vec(), "this is no policy: it exports nothing"),
    ] {
        desk.write(name, bytes);
        let text = desk.bad(1, &["check", name], &[sentence, "FAILED"]);
        println!("{text}");
    }
    desk.bad(1, &["check", "huge.wasm"], &["bytes, which are allowed"]);
    desk.bad(2, &["check", "missing.wasm"], &["cannot read the module missing.wasm", "orbitd policy build"]);
    let router = shipped("route-plugins.wasm");
    desk.bad(1, &["check", &router, "--world", "renderer"], &["for world router", "--world asks for renderer"]);
    let without = desk.good(&["check", &router]);
    assert!(without.contains("it needs some") && without.contains("--settings"), "{without}");
    desk.write("settings.toml", "plugins = [\"catalog\"]\ntimeouts_ms = { kubernetes = 1 }\n");
    desk.bad(
        1,
        &["check", &router, "--settings", "settings.toml"],
        &["it refuses them", "timeouts_ms names \"kubernetes\""],
    );
    desk.write("settings.toml", "plugins = \"catalog\"\n");
    desk.bad(
        1,
        &["check", &router, "--settings", "settings.toml"],
        &["they don't fit its schema", "plugins: ", "array"],
    );
    desk.write("settings.toml", "plugins = [\"catalog\"]\n");
    let checked = desk.json(&["check", &router, "--settings", "settings.toml"]);
    assert_eq!(checked["about"]["name"], "route-plugins");
    assert_eq!(checked["about"]["inputs"], json!(["path"]));
    assert!(checked["about"]["settings_schema"]["properties"]["plugins"].is_object(), "{checked}");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn cases_beside_a_module_are_found_and_a_mistake_in_them_is_named() {
    let desk = Desk::new();
    fs::copy(released("router.wasm"), desk.path("x.wasm")).expect("copied");
    desk.bad(2, &["test", "x.wasm"], &["there are no cases for x.wasm", "<module>.test.toml"]);
    desk.write("x.test.toml", "[[case]]\nname = \"a\"\nexpect.refuse = { status = 404 }\n");
    for target in ["x.wasm", "x.test.toml", "."] {
        assert!(desk.good(&["test", target]).contains("1 passed, 0 failed"), "{target}");
    }
    desk.write("x.test.toml", "[[case]]\nname = \"a\"\nexpect.refsue = {}\n");
    desk.bad(2, &["test", "x.wasm"], &["x.test.toml: case \"a\": expect.refsue: there are forward, refuse"]);
    desk.write("x.test.toml", "[[case]]\nname = \"a\"\nexpects.refuse = {}\n");
    desk.bad(2, &["test", "x.wasm"], &["x.test.toml", "line 3", "expects"]);
    desk.write("x.test.toml", "module = \"gone.wasm\"\n[[case]]\nname = \"a\"\nexpect.refuse = {}\n");
    desk.bad(2, &["test", "x.test.toml"], &["cannot read the module", "gone.wasm"]);
}

#[tokio::test]
async fn a_tier_does_not_take_a_module_that_fails_its_cases_and_explain_shows_each_step() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let admin = daemon.admin();
    let toml = daemon.read_policy("pro.toml");
    let named = toml.replacen(
        "module = \"modules/claims.wasm\"",
        "module = \"modules/claims.wasm\"\ntests = \"claims.test.toml\"",
        1,
    );
    assert_ne!(named, toml, "the tier binds claims");
    daemon.write_policy(
        "claims.test.toml",
        "[claims]\nsub = \"alice\"\n[[case]]\nname = \"strangers come in\"\nexpect.allow = {}\n",
    );
    daemon.write_policy("pro.toml", &named);
    wait::until("the change is refused by the case's name", wait::seconds(30), || async {
        let text = admin.policies().await.to_string();
        let said = ["fails 1 of 1 cases of claims.test.toml", "strangers come in", "expected allow, got deny"];
        if said.iter().all(|part| text.contains(part)) { Ok(()) } else { Err(text) }
    })
    .await;
    daemon.write_policy(
        "claims.test.toml",
        "[claims]\nsub = \"alice\"\n[[case]]\nname = \"strangers don't\"\nexpect.deny = {}\n",
    );
    wait::until("the cases pass", wait::seconds(30), || async {
        let text = admin.policies().await.to_string();
        if text.contains("strangers") { Err(text) } else { Ok(()) }
    })
    .await;

    let claims = daemon.dir.join("claims.json");
    fs::write(&claims, r#"{"sub": "alice", "workspaces": {"acme": ["viewer"]}, "secret": "s3cret"}"#).expect("written");
    let claims = claims.display().to_string();
    let explain = |arguments: &[&str]| {
        let output = daemon.run(&[&["policy", "explain"], arguments].concat());
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let read = explain(&["acme", "/api/catalog/entities?limit=1", "--claims", &claims]);
    for part in [
        "forward to plugin catalog",
        "allow user:default/alice",
        r#""method":"GET""#,
        "outcome: forward to plugin catalog",
    ] {
        assert!(read.contains(part), "{part} in {read}");
    }
    assert!(!read.contains("limit=1") && !read.contains("s3cret"), "only what was declared is shown: {read}");
    let written = explain(&["acme", "/api/catalog/entities", "--method", "DELETE", "--claims", &claims]);
    assert!(written.contains("outcome: deny 403: your role in workspace acme may only read"), "{written}");
    let refused = explain(&["acme", "/api/nothing/x", "--claims", &claims]);
    assert!(refused.contains("refuse 404") && refused.contains("not asked"), "{refused}");
    assert!(explain(&["acme", "/API/catalog"]).contains("more than one way"));
    assert!(explain(&["globex", "/"]).contains("globex"), "no such workspace");
    // The same without a daemon.
    let policies = daemon.dir.join("policies").display().to_string();
    let offline =
        explain(&["acme", "/api/catalog/x", "--claims", &claims, "--policies", &policies, "--tier", "free", "--json"]);
    let offline: Value = serde_json::from_str(&offline).unwrap_or_else(|error| panic!("{error}: {offline}"));
    assert_eq!(offline["outcome"]["forward"]["user"], "user:default/alice", "{offline}");
    assert_eq!(offline["steps"][1]["saw"]["claims"]["sub"], "alice", "{offline}");
}
