//! What the demo prints and puts into `demo.json`: URLs, tokens, lines to paste.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    WORKSPACES,
    files::{AUDIENCE, Files, ISSUER},
    http,
    ports::Addresses,
    text,
};
use crate::paths;

/// The longest that orbitd takes by default.
const TOKEN_LIFETIME: &str = "168h";
const LINK_LIFETIME_S: u64 = 86_400;

/// Mints tokens (making the key first, if there is none) and login links; the content of `demo.json`.
pub fn gather(files: &Files, addresses: &Addresses) -> Result<Value> {
    let admin_token = std::fs::read_to_string(files.path("data/admin.token"))?.trim().to_owned();
    let mut workspaces = Vec::new();
    for slug in WORKSPACES {
        let key = files.path("keys/private.pem").display().to_string();
        let role = format!("{slug}=developer");
        let mint = [
            "token",
            "mint",
            "--key",
            &key,
            "--issuer",
            ISSUER,
            "--audience",
            AUDIENCE,
            "--subject",
            "alice",
            "--workspace",
            &role,
            "--group",
            "team-a",
            "--lifetime",
            TOKEN_LIFETIME,
        ];
        let token = orbitd(files, &mint)?;
        let get = |method: &str, path: &str, body: Option<&Value>| {
            http::expect(addresses.admin, method, path, &admin_token, body)
        };
        let resource = get("GET", &format!("/v1/workspaces/{slug}"), None)?;
        let ask = json!({"token": token, "lifetime_s": LINK_LIFETIME_S});
        let link = get("POST", &format!("/v1/workspaces/{slug}/login-links"), Some(&ask))?;
        workspaces.push(json!({
            "slug": slug, "url": text(&resource, "url")?, "login_url": text(&link, "login_url")?, "token": token,
        }));
    }
    Ok(json!({
        "ready": true, "admin_url": format!("http://{}", addresses.admin), "admin_token": admin_token,
        "workspaces": workspaces,
    }))
}

/// A key on the first run. Before the daemon starts: it reads the public half.
pub fn make_key(files: &Files) -> Result<()> {
    if !files.path("keys/jwks.json").is_file() {
        let folder = files.path("keys").display().to_string();
        orbitd(files, &["token", "keygen", "--out", &folder])?;
    }
    Ok(())
}

fn orbitd(files: &Files, args: &[&str]) -> Result<String> {
    let output = Command::new(paths::program("orbitd")).args(args).current_dir(&files.dir).output()?;
    ensure!(output.status.success(), "orbitd {}: {}", args[..2].join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).context("a text")?.trim().to_owned())
}

/// For a person.
pub fn print(files: &Files, facts: &Value, took: Duration) {
    let workspaces = facts["workspaces"].as_array().cloned().unwrap_or_default();
    let of = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    println!("\norbitd is up: two workspaces, each its own Backstage (their start took {} s)\n", took.as_secs());
    for workspace in &workspaces {
        println!("  {:<8} {}", of(workspace, "slug"), of(workspace, "url"));
    }
    println!("  admin    {}   (bearer: {})", of(facts, "admin_url"), files.path("data/admin.token").display());
    println!("\nopen in a browser, signed in (each works once; the bare URL without a session is a 401 page):\n");
    for workspace in &workspaces {
        println!("  {}", of(workspace, "login_url"));
    }
    println!("\ncall the API (each token opens its own workspace; 403 on the other):\n");
    for workspace in &workspaces {
        // --resolve: not every resolver knows *.localhost.
        let url = of(workspace, "url");
        let host = url.trim_start_matches("http://").to_owned();
        println!(
            "  curl --resolve {host}:127.0.0.1 -H 'Authorization: Bearer {}' '{url}/api/catalog/entities?filter=kind=component'\n",
            of(workspace, "token")
        );
    }
    let orbitd = format!("{} --config {}", paths::program("orbitd").display(), files.path("orbitd.toml").display());
    let policy = files.path("policies/free.toml").display().to_string();
    let asked = workspaces.iter().find(|workspace| workspace["slug"] == "globex").cloned().unwrap_or_default();
    let url = of(&asked, "url");
    println!("\nswap a policy while traffic flows (what globex reads when it asks for a plugin outside its tier):\n");
    println!(
        "  sed -i 's/^refusal = .*/refusal = \"{{plugin}} costs extra in tier {{tier}}\"/' {policy} && sleep 1 && \\\n  \
         curl --resolve {}:127.0.0.1 -H 'Authorization: Bearer {}' {url}/api/kubernetes/clusters\n\n  {orbitd} policy status",
        url.trim_start_matches("http://"),
        of(&asked, "token"),
    );
    println!("\nchange acme's config (requests wait while its Backstage restarts; none fails):\n");
    println!(
        "  sed -i 's/^title = .*/title = \"Acme, renamed\"/' {} && {orbitd} workspace events acme",
        files.path("source/workspaces/acme/workspace.toml").display()
    );
    println!("\nall of it for scripts: {}\nCtrl-C stops everything.", files.path("demo.json").display());
}
