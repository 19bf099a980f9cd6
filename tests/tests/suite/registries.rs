//! Registries as they are outside of a test: https under a private authority, accounts, tokens, and their faults. Each error names
//! the registry, the reason and the next step; a password is in no output, whatever goes wrong.

use std::{fs, path::Path, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use orbitd_tests::{
    Daemon, Setup,
    authority::Authority,
    registry::{Doors, Registry, write_account},
    token_service::TokenService,
    wait::{self, seconds},
    world,
};
use serde_json::{Value, json};

use crate::distribution_of_policies::{pro, serves, tier, variant};

const PASSWORD: &str = "correct-horse-7f3a";
const WRONG: &str = "battery-staple-91c2";

/// All that could give a password away.
fn secrets() -> Vec<String> {
    let pairs = [PASSWORD, WRONG].map(|password| STANDARD.encode(format!("ci:{password}")));
    pairs.into_iter().chain([PASSWORD, WRONG].map(str::to_owned)).collect()
}

fn is_silent_about_passwords(what: &str, text: &str) {
    for secret in secrets() {
        assert!(!text.contains(&secret), "{what} shows {secret}");
    }
}

/// A command without an account of the machine's own user.
fn orbitd(daemon: &Daemon, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = daemon.command(args);
    command.env("DOCKER_CONFIG", daemon.dir.join("no-docker")).envs(environment.iter().copied());
    let output = orbitd_tests::daemon::run_limited(command);
    for text in [&output.stdout, &output.stderr] {
        is_silent_about_passwords(&args.join(" "), &String::from_utf8_lossy(text));
    }
    output
}

/// It fails, and says all this.
fn fails(daemon: &Daemon, args: &[&str], environment: &[(&str, &str)], named: &[&str]) {
    for args in [args, &[args, &["--json"]].concat()] {
        let output = orbitd(daemon, args, environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?} succeeded");
        for word in named {
            // Quotes are escaped in JSON.
            let there = said.contains(word) || said.contains(&word.replace('"', "\\\""));
            assert!(there, "{args:?} does not say {word:?}: {said}");
        }
    }
}

fn succeeds(daemon: &Daemon, args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = orbitd(daemon, args, environment);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn write(daemon: &Daemon, name: &str, text: &str) -> String {
    let path = daemon.dir.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

#[tokio::test]
async fn a_private_registry_lets_in_who_has_an_account() {
    let daemon = Setup::echo().prepare();
    let (ours, theirs) = (Authority::new(&daemon.dir, "ours"), Authority::new(&daemon.dir, "theirs"));
    let certificate = ours.issue("localhost");
    let accounts = daemon.dir.join("htpasswd");
    write_account(&accounts, "ci", PASSWORD);
    let doors = Doors::Accounts(accounts);
    let mut registry = Registry::guarded(&daemon.dir, world::free_address(), Some(&certificate), Some(&doors));
    let (here, port) = (registry.by_name("policies/route-plugins:1"), registry.address.port());
    let elsewhere = format!("oci://0.0.0.0:{port}/policies/route-plugins:1");
    let (ca, wrong_ca) = (text(ours.file()), text(theirs.file()));
    let (right, wrong) = (write(&daemon, "right", &format!("{PASSWORD}\n")), write(&daemon, "wrong", WRONG));
    let module = variant(&daemon, 1);
    let push = |to: &str, flags: &[&str]| -> Vec<String> {
        ["policy", "push", &module, to].iter().chain(flags).map(|word| (*word).to_owned()).collect()
    };
    let refused = |to: &str, flags: &[&str], named: &[&str]| {
        let (args, at) = (push(to, flags), to["oci://".len()..].split('/').next().expect("a registry").to_owned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        fails(
            &daemon,
            &args,
            &[("REGISTRY_PASSWORD", WRONG)],
            &[&[format!("registry {at} ").as_str()], named].concat(),
        );
    };
    let as_ci = ["--username", "ci", "--password-file"];
    let known = ["--ca-file", &ca];

    // Who it is.
    refused(&here, &[], &["speaks https", "plain http", "--ca-file"]);
    refused(
        &here,
        &["--ca-file", &wrong_ca],
        &["no authority in", &wrong_ca, "signed", "put the right authority there"],
    );
    refused(&elsewhere, &[], &["authority that this machine does not know", "name the authority's file (--ca-file)"]);
    refused(&elsewhere, &known, &["certificate of another host", "localhost", "use one of its names"]);
    refused(&here, &["--ca-file", &right], &["can't be asked", &right, "no certificate in it", "PEM"]);
    refused(&here, &["--ca-file", "none.pem"], &["can't be asked", "none.pem"]);
    // Who we are.
    refused(&here, &known, &["without an account (401)", "pass --username with --password-file or --password-env"]);
    let with = |flags: &[&str]| -> Vec<String> { known.iter().chain(flags).map(|word| (*word).to_owned()).collect() };
    for (flags, named) in [
        ([&as_ci[..], &[&wrong]].concat(), vec!["refuses the account \"ci\"", "check name, password"]),
        (vec!["--username", "ci", "--password-env", "REGISTRY_PASSWORD"], vec!["refuses the account \"ci\""]),
        (vec!["--username", "ci", "--password-env", "UNSET_HERE"], vec!["UNSET_HERE", "set it for this process"]),
        ([&as_ci[..], &["nowhere"]].concat(), vec!["password file nowhere"]),
    ] {
        let flags = with(&flags);
        refused(&here, &flags.iter().map(String::as_str).collect::<Vec<_>>(), &named);
    }
    // Each of the three places of an account, and all come back the same.
    let run = |args: &[&str], more: &[&str], environment: &[(&str, &str)]| {
        succeeds(&daemon, &[args, more, &known].concat(), environment)
    };
    let pinned = run(&["policy", "push", &module, &here], &[&as_ci[..], &[&right]].concat(), &[]);
    assert!(pinned.starts_with(&registry.by_name("policies/route-plugins@sha256:")), "{pinned}");
    let by_variable = ["--username", "ci", "--password-env", "REGISTRY_PASSWORD"];
    let pull = ["policy", "pull", &here, "--json", "--out", "pulled.wasm"];
    let pulled = run(&pull, &by_variable, &[("REGISTRY_PASSWORD", PASSWORD)]);
    let pulled: Value = serde_json::from_str(&pulled).expect("JSON");
    assert_eq!((&pulled["pinned"], &pulled["signed"]), (&json!(pinned), &json!(false)));
    let auth = STANDARD.encode(format!("ci:{PASSWORD}"));
    let docker = json!({"auths": {format!("localhost:{port}"): {"auth": auth}}});
    write(&daemon, "docker/config.json", &docker.to_string());
    let docker = text(daemon.dir.join("docker"));
    run(&["policy", "pull", &pinned, "--force", "--out", "pulled.wasm"], &[], &[("DOCKER_CONFIG", &docker)]);
    let bytes = |name: &str| fs::read(daemon.dir.join(name)).expect("a module");
    assert!(bytes("pulled.wasm") == bytes(&module), "what was pushed");
    // Not there; there no longer in time; not there at all.
    let missing = registry.by_name("policies/nothing:1");
    let args = [&["policy", "pull", &missing][..], &known, &as_ci, &[&right]].concat();
    fails(&daemon, &args, &[], &["has no policies/nothing:1", "policy push"]);
    ours.issue_expired("localhost");
    registry.stop();
    registry.start_again();
    refused(&here, &known, &["certificate that expired on 20", "have it renewed"]);
    registry.stop();
    refused(&here, &known, &["can't be reached", "refused", "check that it runs"]);
}

#[tokio::test]
async fn a_registry_may_ask_for_tokens() {
    let daemon = Setup::echo().prepare();
    let ours = Authority::new(&daemon.dir, "ours");
    let certificate = ours.issue("localhost");
    let service = TokenService::start(&ours, "ci", PASSWORD).await;
    let doors = Doors::Tokens(&service);
    let registry = Registry::guarded(&daemon.dir, world::free_address(), Some(&certificate), Some(&doors));
    let (reference, ca) = (registry.by_name("policies/route-plugins:1"), text(ours.file()));
    let (right, wrong) = (write(&daemon, "right", PASSWORD), write(&daemon, "wrong", WRONG));
    let module = variant(&daemon, 1);
    // The service answers on this very runtime: commands are waited for elsewhere.
    let (daemon, service_is) = tokio::task::spawn_blocking(move || {
        let push = ["policy", "push", &module, &reference, "--ca-file", &ca];
        fails(&daemon, &push, &[], &["without an account (401)", "pass --username"]);
        let with = |password: &str| -> Vec<String> {
            let account = ["--username", "ci", "--password-file", password];
            push.iter().chain(&account).map(|word| (*word).to_owned()).collect()
        };
        let words = |words: &[String]| words.iter().map(String::clone).collect::<Vec<_>>();
        let wrong = words(&with(&wrong));
        fails(&daemon, &wrong.iter().map(String::as_str).collect::<Vec<_>>(), &[], &["refuses the account \"ci\""]);
        let right = words(&with(&right));
        succeeds(&daemon, &right.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        (daemon, right)
    })
    .await
    .expect("no panic");
    let issued = service.issued();
    assert!(issued > 0, "tokens were given");
    // Without the service nobody is let in, and that is what is said.
    drop(service);
    tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = service_is.iter().map(String::as_str).collect();
        fails(&daemon, &args, &[], &["can't be reached", "token service", "check that it runs"]);
    })
    .await
    .expect("no panic");
}

/// What is wrong with a reference of tier `pro`, once it is.
async fn troubled(daemon: &Daemon, reference: &str, named: &[&str]) -> Value {
    let admin = daemon.admin();
    wait::until(&format!("{reference} to be said to fail with {named:?}"), seconds(40), || async {
        let status = admin.policies().await;
        let modules = status["remote"].as_array().cloned().unwrap_or_default();
        let module = modules.into_iter().find(|module| module["reference"] == reference).unwrap_or_default();
        let error = module["error"].as_str().unwrap_or_default();
        if named.iter().all(|word| error.contains(word)) { Ok(module) } else { Err(module.to_string()) }
    })
    .await
}

/// All references answer.
async fn healthy(daemon: &Daemon) {
    pro(daemon, "the registries to answer", |_, status| {
        let modules = status["remote"].as_array().cloned().unwrap_or_default();
        modules.len() == 2
            && modules.iter().all(|module| module["error"].is_null() && module["failing_since"].is_null())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_follows_guarded_registries_through_their_faults() {
    let (with_accounts, with_tokens) = (world::free_address(), world::free_address());
    let name = |address: std::net::SocketAddr| format!("localhost:{}", address.port());
    let (one, other) = (name(with_accounts), name(with_tokens));
    let mut daemon = Setup::echo()
        .workspace("acme", "tier = \"pro\"\n", &[])
        .toml("[log]\nfilter = \"debug,oci_client=trace,reqwest=trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace\"\n")
        .toml(&format!(
            "[oci]\npoll_s = 1\ntimeout_s = 2\n[oci.accounts.\"{one}\"]\nusername = \"ci\"\npassword_file = \"password\"\n\
             [oci.accounts.\"{other}\"]\nusername = \"ci\"\npassword_env = \"REGISTRY_PASSWORD\"\n\
             [oci.ca_files]\n\"{one}\" = \"ours/ca.pem\"\n\"{other}\" = \"ours/ca.pem\"\n"
        ))
        .env("REGISTRY_PASSWORD", PASSWORD)
        .prepare();
    let ours = Authority::new(&daemon.dir, "ours");
    let certificate = ours.issue("localhost");
    let service = TokenService::start(&ours, "ci", PASSWORD).await;
    let accounts = daemon.dir.join("htpasswd");
    write_account(&accounts, "ci", PASSWORD);
    write(&daemon, "password", PASSWORD);
    let doors = Doors::Accounts(accounts.clone());
    let mut registry = Registry::guarded(&daemon.dir, with_accounts, Some(&certificate), Some(&doors));
    let tokens = Registry::guarded(&daemon.dir, with_tokens, Some(&certificate), Some(&Doors::Tokens(&service)));
    let (router, authorizer) =
        (registry.by_name("policies/route-plugins:live"), tokens.by_name("policies/claims:live"));
    let (first, second) = (variant(&daemon, 1), variant(&daemon, 2));
    let push = |file: &str, to: &str| {
        let account = ["--username", "ci", "--password-file", "right", "--ca-file", "ours/ca.pem"];
        write(&daemon, "right", PASSWORD);
        succeeds(&daemon, &[&["policy", "push", file, to][..], &account].concat(), &[])
    };
    push(&first, &router);
    push("policies/modules/claims.wasm", &authorizer);
    let (module, of_tokens) = (tier(&daemon, &router, ""), authorizer.clone());
    let mut table: toml::Table = module.parse().expect("TOML");
    table["authorizer"][0]["module"] = toml::Value::from(of_tokens);
    daemon.write_policy("pro.toml", toml::to_string(&table).expect("written"));
    daemon.start().await;
    daemon.admin().running("acme").await;
    serves(&daemon, "the module behind an account to serve", &first).await;
    healthy(&daemon).await;

    // Silence, a certificate that expired, an account that is refused: what was pulled serves on, and the status says since when.
    let serves_on = async |module: &Value| {
        assert!(module["failing_since"].is_string() && module["pulled_at"].is_string(), "{module}");
        let status = orbitd(&daemon, &["policy", "status"], &[]);
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        let told = said.contains(&router) && said.contains("no good answer") && said.contains("serves on");
        assert!(told, "{said}");
        serves(&daemon, "what was pulled to serve on", &first).await;
    };
    registry.freeze();
    serves_on(&troubled(&daemon, &router, &[&one, "silent for 2 s", "asked again"]).await).await;
    registry.stop();
    let good = (fs::read(&certificate.file).expect("read"), fs::read(&certificate.key).expect("read"));
    ours.issue_expired("localhost");
    registry.start_again();
    serves_on(&troubled(&daemon, &router, &[&one, "expired on 20", "have it renewed"]).await).await;
    registry.stop();
    fs::write(&certificate.file, &good.0).expect("written");
    fs::write(&certificate.key, &good.1).expect("written");
    registry.start_again();
    healthy(&daemon).await;
    write_account(&accounts, "ci", WRONG);
    serves_on(&troubled(&daemon, &router, &[&one, "refuses the account \"ci\"", "check name, password"]).await).await;

    // The new password is taken from its file at once, and with it comes what was pushed meanwhile.
    write(&daemon, "password", WRONG);
    healthy(&daemon).await;
    let account = ["--username", "ci", "--password-file", "password", "--ca-file", "ours/ca.pem"];
    succeeds(&daemon, &[&["policy", "push", &second, &router][..], &account].concat(), &[]);
    serves(&daemon, "what was pushed with the new password to serve", &second).await;
    // The tokens of the other registry ended long ago, each after two seconds.
    let issued = service.issued();
    wait::until("another token", seconds(30), || async {
        if service.issued() > issued { Ok(()) } else { Err(issued.to_string()) }
    })
    .await;
    healthy(&daemon).await;
    is_silent_about_passwords("the status", &daemon.admin().policies().await.to_string());
    let log = fs::read_to_string(daemon.dir.join("serve.log")).expect("a log");
    assert!(
        log.contains("oci_client") && log.contains("Using HTTP basic authentication"),
        "the log is a talkative one"
    );
    is_silent_about_passwords("the log", &log);
}
