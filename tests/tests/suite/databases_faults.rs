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

/// The answer to the COMMIT of what a session does with this in it.
fn commit_after(text: &str) -> Fault {
    Fault::LoseAnswer { after: text.as_bytes().to_vec(), to: b"COMMIT".to_vec() }
}

#[tokio::test]
async fn an_answer_that_is_lost_after_commit_is_found_and_nothing_is_done_twice() {
    let proxy = Proxy::start(server_address(shared())).await;
    let access = Access::new(shared()).by_way_of(&proxy.address.to_string());
    let daemon = Setup::echo().toml(&access.registry()).start().await;
    let (admin, token) = (daemon.admin(), daemon.token(&["acme"]));
    proxy.set(commit_after("INSERT INTO workspaces"));
    let made = make(&daemon, "acme").await;
    assert_eq!(made.status, 201, "{}", made.text());
    let listed = admin.get("/v1/workspaces").await.expect(200).json();
    assert_eq!(listed["items"].as_array().expect("a list").len(), 1, "{listed}");
    let rows = "SELECT count(*) FROM workspaces";
    assert_eq!((proxy.hits(), shared().superuser(&access.user, rows).as_str()), (1, "1"));
    admin.running("acme").await;
    daemon.get("acme", "/who", Some(&token)).await.expect(200);

    // A change: the answer says what stands, and it stands once.
    let revisions = async || {
        let all = admin.get("/v1/workspaces/acme/revisions").await.expect(200).json();
        all["items"].as_array().expect("a list").len()
    };
    assert_eq!(revisions().await, 1);
    proxy.set(commit_after("the new title"));
    let patch = json!({"app_config": {"app": {"title": "the new title"}}});
    let changed = admin.call("PATCH", "/v1/workspaces/acme", Some(patch)).await.expect(200).json();
    assert_eq!((proxy.hits(), &changed["generation"]), (2, &json!(2)), "{changed}");
    let acme = admin.running("acme").await;
    assert_eq!((&acme["generation"], &acme["spec"]), (&json!(2), &changed["spec"]));
    let who = daemon.get("acme", "/who", Some(&token)).await.expect(200).json();
    assert_eq!((revisions().await, who["title"].as_str()), (2, Some("the new title")));

    // Restarts, one after the other, then several at once: those that come in between must not make one of them happen twice.
    let restart = |n: i64| commit_after(&format!("\"restarts\":{n}"));
    let restarts = "/v1/workspaces/acme/restart";
    for n in 1..=2 {
        proxy.set(restart(n));
        let asked = admin.post(restarts, Value::Null).await.expect(202).json();
        assert_eq!((&asked["generation"], &asked["spec"]["restarts"]), (&json!(2 + n), &json!(n)), "{asked}");
        admin.running("acme").await;
    }
    proxy.set(restart(3));
    let answers = futures_util::future::join_all([(); 4].map(|()| admin.post(restarts, Value::Null))).await;
    let mut counts: Vec<_> =
        answers.into_iter().map(|answer| answer.expect(202).json()["generation"].clone()).collect();
    counts.sort_by_key(|generation| generation.as_i64());
    assert_eq!((proxy.hits(), counts), (5, [5, 6, 7, 8].map(|generation| json!(generation)).to_vec()));
    let acme = admin.running("acme").await;
    assert_eq!((&acme["generation"], &acme["spec"]["restarts"]), (&json!(8), &json!(6)), "{acme}");

    // A server that is gone when it could be asked: that is what the client is told.
    proxy.set(commit_after("the last title"));
    proxy.then(Fault::Down);
    let patch = json!({"app_config": {"app": {"title": "the last title"}}});
    let told = admin.call("PATCH", "/v1/workspaces/acme", Some(patch)).await.expect(503);
    assert!(told.text().contains("whether orbitd did store the change is not known"), "{}", told.text());
    proxy.set(Fault::None);
    let acme = admin.running("acme").await;
    assert_eq!(
        (&acme["generation"], &acme["spec"]["app_config"]["app"]["title"]),
        (&json!(9), &json!("the last title"))
    );

    proxy.set(commit_after("SET deleting"));
    let deleted = admin.call("DELETE", "/v1/workspaces/acme", None).await.expect(202).json();
    assert_eq!((proxy.hits(), &deleted["generation"]), (7, &json!(10)), "{deleted}");
    admin.gone("acme").await;
}

/// The number of the writing session's lock: "orbitd" and a version, as bytes.
const LOCK: i64 = i64::from_be_bytes(*b"\0orbitd\x01");

#[tokio::test]
async fn a_workspace_that_the_controller_finds_before_its_creation_is_answered_serves_requests() {
    let proxy = Proxy::start(server_address(shared())).await;
    let access = Access::new(shared()).by_way_of(&proxy.address.to_string());
    let daemon = Setup::echo().toml(&access.registry()).start().await;
    let (admin, token) = (daemon.admin(), daemon.token(&["acme"]));
    // Between COMMIT and the creation's end: someone else has the lock when the first session is cut, so the next one has to wait.
    let database = access.user.clone();
    let waits = format!("SELECT pg_advisory_lock({LOCK}); SELECT pg_sleep(60)");
    let holder = tokio::task::spawn_blocking({
        let database = database.clone();
        move || shared().sql(orbitd_test_postgres::SUPERUSER, &database, &waits)
    });
    let superuser = async |statement: String| {
        let database = database.clone();
        tokio::task::spawn_blocking(move || shared().superuser(&database, &statement)).await.expect("no panic")
    };
    let of_lock = |granted: bool| {
        format!(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database() \
             JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND usename = 'postgres' AND granted = {granted}"
        )
    };
    let until = async |statement: String| {
        wait::until(&statement, seconds(30), || async {
            let found = superuser(statement.clone()).await;
            if found == "1" { Ok(()) } else { Err(found) }
        })
        .await;
    };
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' \
                 AND datname = current_database() AND pid <> pg_backend_pid()"
        .to_owned();
    until(of_lock(false)).await;
    proxy.set(commit_after("INSERT INTO workspaces"));
    let making = make(&daemon, "acme");
    let meeting = async {
        until(of_lock(true)).await;
        // The controller is told of the row: it is there.
        let woken = admin.post("/v1/workspaces/acme/wake", Value::Null);
        let seen = async {
            wait::until("the workspace to be known", seconds(30), || async {
                // A request that is not refused is held.
                let asked = daemon.get("acme", "/who", Some(&token));
                match tokio::time::timeout(std::time::Duration::from_millis(300), asked).await {
                    Ok(reply) if reply.status == 404 => Err(reply.text()),
                    _ => Ok(()),
                }
            })
            .await;
            superuser(ended).await
        };
        tokio::join!(woken, seen)
    };
    // On a machine that is too slow for it the wait is given up, and the workspace is there all the same.
    let (made, (woken, _)) = tokio::join!(making, meeting);
    assert!(matches!(made.status.as_u16(), 201 | 503), "{}", made.text());
    println!("made: {}, woken: {}", made.status, woken.status);
    assert!(holder.await.expect("no panic").is_err(), "it was ended");
    admin.running("acme").await;
    daemon.get("acme", "/who", Some(&token)).await.expect(200);
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
    let (admin, load) = (daemon.admin(), load(&daemon));
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
    // Asked for is not done: the server tells its sessions before it lets a new one in that knows.
    wait::until("the old one to take no changes", seconds(30), || async {
        let read_only = old.superuser("postgres", "SHOW default_transaction_read_only");
        if read_only == "on" { Ok(()) } else { Err(read_only) }
    })
    .await;
    let refused = make(&daemon, "early").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("standby"), "{}", refused.text());
    load.more(10).await;
    // What is read on the old one, while there is no better, is not read there any more once something was written on the new one.
    admin.get("/v1/workspaces/acme").await.expect(200);
    new.promote();

    assert_eq!(make(&daemon, "late").await.status, 201, "on the new primary");
    admin.get("/v1/workspaces/late").await.expect(200);
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
