//! What servers of databases can do to a daemon (catalogue F-18 to F-20): down, flapping, silent, out of connections, full, another
//! certificate, a failover with the old connections alive, an answer that is lost after COMMIT. What runs is served as it was, changes are
//! refused by name, nobody is asked in a loop, and it mends by itself.

use std::{net::SocketAddr, path::Path, process::Command, sync::Arc, time::Instant};

use orbitd_test_postgres::{Server, shared};
use orbitd_tests::{
    Daemon, Reply, Setup,
    fault::{Fault, Proxy, postgres_error},
    load::{Ask, Load},
    postgres::Access,
    wait::{self, seconds},
};
use serde_json::{Value, json};

fn load(daemon: &Daemon) -> Load {
    let good = |reply: &Reply| match reply.status.as_u16() {
        200 => Ok(reply.json()["title"].as_str().unwrap_or_default().to_owned()),
        status => Err(format!("{status} {}", reply.text())),
    };
    let (host, token) = (daemon.host("acme"), daemon.token(&["acme"]));
    Load::start(&Ask { address: daemon.proxy, host, target: "/who".into(), token }, 2, Arc::new(good))
}

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

fn server_address(server: &Server) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port))
}

async fn make(daemon: &Daemon, slug: &str) -> Reply {
    daemon.admin().post("/v1/workspaces", json!({"slug": slug, "tier": "free"})).await
}

#[tokio::test]
async fn the_registry_s_server_fails_in_every_way_and_traffic_goes_on() {
    let proxy = Proxy::start(server_address(shared())).await;
    let access = Access::new(shared()).by_way_of(&proxy.address.to_string());
    let setup = Setup::echo().toml(&access.registry()).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let load = load(&daemon);
    load.more(10).await;

    let write: Vec<&'static [u8]> = vec![b"INSERT INTO", b"UPDATE ", b"DELETE FROM"];
    let full = Fault::Answer { to: write, answer: postgres_error("53100", "could not extend file") };
    let full_up = postgres_error("53300", "sorry, too many clients already");
    let connections = Fault::Answer { to: vec![b"user\0"], answer: full_up };
    // The controller wants the registry all the while, too.
    daemon.write_workspace("acme", &titled("two"), &[]);
    for (fault, said) in [
        (Fault::Down, "the registry does not answer"),
        (connections, "too many clients already"),
        (Fault::Silent, "no answer within"),
        (full, "the disk of the registry is full"),
    ] {
        let (before, began) = (proxy.accepted(), Instant::now());
        proxy.set(fault.clone());
        // Statements that the server knows by a number are not met by what is looked for in their text.
        if !matches!(fault, Fault::Silent) {
            proxy.cut();
        }
        let refused = make(&daemon, "late").await;
        assert_eq!(refused.status, 503, "{fault:?}: {}", refused.text());
        assert!(refused.text().contains(said), "{fault:?}: {}", refused.text());
        assert!(!refused.text().contains(&access.password));
        load.more(20).await;
        let (tries, took) = (proxy.accepted() - before, began.elapsed().as_secs_f64());
        println!("{said}: {tries} connections tried in {took:.1} s");
        // Two kinds of sessions, each once in two seconds after the first few.
        assert!((tries as f64) < 40.0 + 5.0 * took, "{tries} tries in {took:.1} s: a busy loop");
        proxy.set(Fault::None);
    }
    // Cut again and again, as by an administrator with pg_terminate_backend.
    for _ in 0..5 {
        proxy.cut();
        load.more(5).await;
    }
    assert_eq!(make(&daemon, "late").await.status, 201);
    wait::until("the change that waited", seconds(60), || async {
        let seen = load.so_far().versions;
        if seen.contains_key("two") { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let report = load.stop().await;
    println!("a registry that failed four ways: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_after_commit_is_found_and_nothing_is_done_twice() {
    let proxy = Proxy::start(server_address(shared())).await;
    let access = Access::new(shared()).by_way_of(&proxy.address.to_string());
    let daemon = Setup::echo().toml(&access.registry()).start().await;
    let admin = daemon.admin();
    proxy.set(Fault::LoseAnswer(b"COMMIT".to_vec()));
    let made = make(&daemon, "acme").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(proxy.hits(), 1);
    admin.running("acme").await;
    // At rest, so that the next COMMIT is the change's.
    let token = daemon.token(&["acme"]);
    daemon.get("acme", "/who", Some(&token)).await.expect(200);
    for generation in 2..5 {
        proxy.set(Fault::LoseAnswer(b"COMMIT".to_vec()));
        let changed = admin.post("/v1/workspaces/acme/restart", Value::Null).await;
        assert_eq!(changed.status, 202, "{}", changed.text());
        assert_eq!(changed.json()["generation"], generation, "{}", changed.text());
        assert_eq!(changed.json()["spec"]["restarts"], generation - 1, "once each");
        admin.running("acme").await;
    }
    let listed = admin.get("/v1/workspaces").await.expect(200).json();
    assert_eq!(listed["items"].as_array().expect("a list").len(), 1, "{listed}");
    let rows = "SELECT count(*) FROM workspaces";
    assert_eq!(shared().superuser(&access.user, rows), "1");
}

#[tokio::test]
async fn a_failover_is_followed_though_the_old_primary_s_connections_live() {
    let old = Server::start(&[]);
    let access = Access::new(&old);
    let new = old.standby();
    let access = access.by_way_of(&format!("127.0.0.1:{},127.0.0.1:{}", old.port, new.port));
    let toml = access.provisioner("") + &access.registry();
    let setup = Setup::echo().toml(&toml).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let load = load(&daemon);
    load.more(10).await;
    let locks =
        |server: &Server| server.superuser("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    assert_eq!((locks(&old).as_str(), locks(&new).as_str()), ("1", "0"));

    // The standby has everything, then it takes over. The old one takes no changes any more, and cuts nobody off.
    let position = old.superuser("postgres", "SELECT pg_current_wal_flush_lsn()");
    wait::until("the standby to catch up", seconds(30), || async {
        let caught = new.superuser("postgres", &format!("SELECT pg_last_wal_replay_lsn() >= '{position}'"));
        if caught == "t" { Ok(()) } else { Err(caught) }
    })
    .await;
    old.superuser("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    old.superuser("postgres", "SELECT pg_reload_conf()");
    let refused = make(&daemon, "early").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("standby"), "{}", refused.text());
    load.more(10).await;
    new.promote();

    assert_eq!(make(&daemon, "late").await.status, 201, "on the new primary");
    daemon.admin().running("late").await;
    let found = "SELECT count(*) FROM pg_database WHERE starts_with(datname::text, 'backstage_late_')";
    assert_eq!((new.superuser("postgres", found).as_str(), old.superuser("postgres", found).as_str()), ("1", "0"));
    let slugs = new.superuser(&access.user, "SELECT string_agg(slug, ' ' ORDER BY slug) FROM workspaces");
    assert_eq!(slugs, "acme late", "nothing was lost with the old one");
    // One lock, where changes are made, and nobody else gets it.
    assert_eq!((locks(&old).as_str(), locks(&new).as_str()), ("0", "1"));
    let second = Setup::echo().toml(&access.registry()).prepare();
    let refused = second.run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("another orbitd works on the registry"), "{said}");

    daemon.write_workspace("acme", &titled("two"), &[]);
    wait::until("the new configuration", seconds(60), || async {
        let seen = load.so_far().versions;
        if seen.contains_key("two") { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let report = load.stop().await;
    println!("a failover: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
}

/// A certificate for 127.0.0.1 that signs itself: key and certificate, as files of the server's.
fn certificate(server: &Server, name: &str) -> std::path::PathBuf {
    let (key, cert) = (server.folder().join(format!("{name}.key")), server.folder().join(format!("{name}.pem")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"])
        .args([
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    server.take_over(&key);
    server.take_over(&cert);
    cert
}

/// From now on the server shows this one.
fn show(server: &Server, name: &str) {
    let file = |end: &str| server.folder().join(format!("{name}.{end}")).display().to_string();
    for (setting, value) in [("ssl_cert_file", file("pem")), ("ssl_key_file", file("key")), ("ssl", "on".to_owned())] {
        server.superuser("postgres", &format!("ALTER SYSTEM SET {setting} = '{value}'"));
    }
    server.superuser("postgres", "SELECT pg_reload_conf()");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_by_name() {
    let server = Server::start(&[]);
    let good = certificate(&server, "good");
    certificate(&server, "other");
    show(&server, "good");
    let verified = |authority: &Path| format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let access = Access::new(&server).with(&verified(&good));
    let registry = Access::new(&server).with(&verified(&server.folder().join("other.pem")));

    // At a start, for the registry.
    let refused = Setup::echo().toml(&registry.registry()).prepare().run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("certificate"), "{said}");

    // While it runs, for workspaces' databases.
    let setup = Setup::echo().toml(&access.provisioner("")).workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    show(&server, "other");
    assert_eq!(make(&daemon, "late").await.status, 201);
    let condition = daemon.admin().condition("late", "Provisioned", "False", seconds(30)).await;
    assert_eq!(condition["reason"], "DatabaseTlsRefused", "{condition}");
    daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200);
    show(&server, "good");
    daemon.admin().running("late").await;
}
