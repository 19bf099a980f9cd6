use std::time::Duration;

use orbit_engine::World;

use super::*;
use crate::{model::Share, policy::rollout::Mode};

const GOOD: &str =
    "[router]\nmodule = \"modules/r.wasm\"\n[[authorizer]]\nmodule = \"a.wasm\"\n[renderer]\nmodule = \"c.wasm\"\n";

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = TierFile::parse(&format!("{GOOD}setings = 1\n")).expect_err("unknown key");
    assert!(error.contains("line 7") && error.contains("setings"), "{error}");
    assert!(TierFile::parse(&GOOD.replace("[[authorizer]]", "[[authoriser]]")).is_err());
    assert!(TierFile::parse(&GOOD[..GOOD.len() / 2]).is_err(), "half a file");
}

#[test]
fn a_wrong_value_is_told_in_plain_words() {
    for (section, line, told) in [
        ("router.limits", "memory_bytes = \"64 MiB\"", "expected a whole number, 0 or more"),
        ("router.limits", "result_bytes = -1", "invalid value: integer `-1`, expected a whole number, 0 or more"),
        ("router.limits", "budget_ms = 1.5", "expected a whole number, 0 or more"),
        ("backup", "keep = 5000000000", "expected a whole number from 0 to 4294967295"),
        ("rollout", "max_concurrent = \"all\"", "expected a whole number, 0 or more"),
        ("resources", "pids = -1", "expected a whole number, 0 or more"),
        ("sleep", "stop_after_s = \"1h\"", "expected a whole number, 0 or more"),
        ("trust", "keys = 7", "expected a list"),
    ] {
        let error = TierFile::parse(&format!("{GOOD}[{section}]\n{line}\n")).map(|_| ()).expect_err(line);
        println!("{error}");
        assert!(error.contains(line) && error.ends_with(told), "{line}: {error}");
    }
}

#[test]
fn a_module_stays_inside_the_folder() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("policies");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(dir.path().join("out.wasm"), "").expect("written");
    std::os::unix::fs::symlink(dir.path().join("out.wasm"), folder.join("link.wasm")).expect("linked");
    std::fs::write(folder.join("in.wasm"), "").expect("written");
    let at = |module: &str| {
        let text = GOOD.replace("modules/r.wasm", module);
        TierFile::parse(&text).expect("parsed").router.module_path(&folder)
    };
    assert!(at("in.wasm").is_ok());
    for out in ["../out.wasm", "link.wasm", "/etc/passwd", "missing.wasm"] {
        assert!(at(out).expect_err("refused").contains(out), "{out}");
    }
}

#[test]
fn settings_become_json_and_limits_have_bounds() {
    let text = GOOD.replace(
        "[renderer]",
        "[authorizer.settings]\na = [1, true]\nb.c = \"x\"\n[authorizer.limits]\nbudget_ms = 0\n[renderer]",
    );
    let file = TierFile::parse(&text).expect("parsed");
    assert_eq!(file.authorizer[0].settings_json(Vec::new()).expect("JSON"), r#"{"a":[1,true],"b":{"c":"x"}}"#);
    assert!(
        file.authorizer[0]
            .limits
            .limits(Class::Policy, World::Authorizer)
            .expect_err("too small")
            .contains("budget_ms")
    );
    assert_eq!(
        file.router.limits.limits(Class::Policy, World::Router).expect("defaults").budget,
        Duration::from_millis(20)
    );
}

#[test]
fn a_next_version_inherits_what_it_leaves_out() {
    let next =
        "[router.settings]\na = 1\n[router.next]\nmode = \"canary\"\nshare = \"10%\"\nmodule = \"n.wasm\"\n[[auth";
    let file = TierFile::parse(&GOOD.replace("[[auth", next)).expect("parsed");
    let binding = file.router.next_binding().expect("there");
    assert_eq!(
        (binding.module.to_str(), binding.settings_json(Vec::new())),
        (Some("n.wasm"), Ok(r#"{"a":1}"#.to_owned()))
    );
    let rules = file.router.next.expect("there");
    assert_eq!((rules.mode, rules.audience().expect("one").share), (Mode::Canary, Share::percent(10)));
    let bare = TierFile::parse(&GOOD.replace("[[auth", "[router.next]\nmode = \"canary\"\n[[auth")).expect("parsed");
    assert!(bare.router.next.expect("there").audience().expect_err("of what?").contains("share"));
    for wrong in
        ["mode = \"active\"", "share = \"10%\"", "mode = \"canary\"\nshare = \"110%\"", "mode = \"shadow\"\nx = 1"]
    {
        assert!(
            TierFile::parse(&GOOD.replace("[[auth", &format!("[router.next]\n{wrong}\n[[auth"))).is_err(),
            "{wrong}"
        );
    }
}
