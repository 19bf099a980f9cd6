//! The router from outside, over an empty registry: what everybody meets before any workspace is touched.

use std::{path::Path, sync::atomic::Ordering};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::{
    alerts::Alerts,
    db::DataDir,
    directory::Directory,
    driver::Distribution,
    identity::MasterKey,
    lifecycle,
    settings::{AlertSettings, AuthSettings},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Api {
    /// Removed with it.
    _dir: tempfile::TempDir,
    router: Router,
    ready: Arc<AtomicBool>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// All workspaces of a registry without any, in `dir`.
async fn no_workspaces(dir: &Path) -> Workspaces {
    let data_dir = Arc::new(DataDir::open(dir).expect("a data directory"));
    let master = MasterKey::load_or_create(&data_dir.master_key()).expect("a master key");
    let registry = crate::db::Registry::open(&crate::db::Place::File(data_dir.registry()), Arc::new(master))
        .await
        .expect("a registry");
    let (directory, hints) = Directory::new();
    // Nothing is ever started from it: no workspace wants an instance.
    let distribution = Distribution {
        root: dir.to_owned(),
        name: "none".into(),
        version: "0".into(),
        digest: "none".into(),
        node: "/bin/false".into(),
        launcher: dir.join("launcher.js"),
        plugins: Default::default(),
        stateless: false,
        warning: None,
    };
    let (alerts, _outbox) = Alerts::new(&AlertSettings::default());
    let parts = lifecycle::Parts {
        alerts: Arc::new(alerts),
        settings: Arc::default(),
        registry,
        data_dir,
        directory,
        hints,
        internal_paths: Arc::default(),
        policies: Arc::default(),
        distribution,
        proxy_port: 7080,
        internal_port: 7082,
    };
    lifecycle::start(parts).await.expect("a controller").0
}

async fn api() -> Api {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.token");
    std::fs::write(&path, TOKEN).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let ready = Arc::new(AtomicBool::new(false));
    let mut metrics = Registry::default();
    let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    metrics.register("orbitd_tries", "Tries", counter);
    let state = ApiState {
        workspaces: no_workspaces(&dir.path().join("data")).await,
        authenticator: Authenticator::open(&AuthSettings::default()).expect("no issuers"),
        logins: Arc::default(),
        policies: Arc::default(),
        metrics: Arc::new(metrics),
        token: AdminToken::load(&path).expect("a token"),
        ready: ready.clone(),
        proxy: ProxySettings::default(),
        proxy_port: 7080,
        hosts: vec!["orbitd.example.org".into()],
        upgrade: UpgradeHandle::new().0,
        shutdown: CancellationToken::new(),
    };
    Api { router: admin_router(state), ready, _dir: dir }
}

impl Api {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 << 20).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: parts.status, headers: parts.headers, body }
    }
    async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7081");
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_owned())),
            None => request.body(Body::empty()),
        };
        self.send(request.expect("a request")).await
    }
}

impl Answer {
    /// The kind and detail of a problem document, whose every member is checked.
    fn problem(&self) -> (String, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        let document: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(document["request_id"], self.headers["x-request-id"].to_str().expect("text"));
        assert!(!document["title"].as_str().expect("a title").is_empty());
        let kind = document["type"].as_str().expect("a type").strip_prefix("urn:orbitd:problem:").expect("ours");
        (kind.to_owned(), document["detail"].as_str().expect("a detail").to_owned())
    }
    fn is_problem(&self, status: u16, kind: &str, parts: &[&str]) {
        let (found, detail) = self.problem();
        assert_eq!((self.status.as_u16(), found.as_str()), (status, kind), "{detail}");
        for part in parts {
            assert!(detail.contains(part), "{detail:?} does not say {part:?}");
        }
    }
}

#[tokio::test]
async fn only_the_admin_token_opens_the_api() {
    let api = api().await;
    let wrong = format!("Bearer {}", TOKEN.replace('0', "1"));
    let basic = format!("Basic {TOKEN}");
    for path in ["/v1/workspaces", "/v1/nowhere", "/", "/metrics/x", "/v1/../metrics"] {
        for authorization in
            [None, Some(wrong.as_str()), Some(basic.as_str()), Some(TOKEN), Some("Bearer "), Some("Bearer")]
        {
            let mut request = Request::builder().uri(path).header("host", "localhost");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = api.send(request.body(Body::empty()).expect("a request")).await;
            answer.is_problem(401, "unauthorized", &["admin.token"]);
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"orbitd admin\"");
        }
    }
    let twice = Request::builder().uri("/v1/workspaces").header("host", "localhost");
    let twice = twice.header("authorization", format!("Bearer {TOKEN}")).header("authorization", wrong);
    assert_eq!(api.send(twice.body(Body::empty()).expect("a request")).await.status, 401);
    let good = api.ask("GET", "/v1/workspaces", None).await;
    assert_eq!((good.status.as_u16(), good.body.as_str()), (200, r#"{"items":[]}"#));
    assert_eq!(good.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn a_foreign_host_is_misdirected_even_with_the_token() {
    let api = api().await;
    let send = |host: Option<&str>, uri: &str| {
        let mut request = Request::builder().uri(uri).header("authorization", format!("Bearer {TOKEN}"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(Body::empty()).expect("a request")
    };
    for good in ["127.0.0.1:7081", "localhost:7081", "[::1]:7081", "orbitd.example.org"] {
        assert_eq!(api.send(send(Some(good), "/v1/workspaces")).await.status, 200, "{good}");
    }
    api.send(send(Some("evil.example:7081"), "/v1/workspaces")).await.is_problem(421, "wrong-host", &["evil.example"]);
    api.send(send(Some("evil.example"), "/metrics")).await.is_problem(421, "wrong-host", &["admin.hosts"]);
    // An absolute target's host counts, not the header beside it.
    let absolute = send(Some("localhost"), "http://evil.example/v1/workspaces");
    api.send(absolute).await.is_problem(421, "wrong-host", &[]);
    api.send(send(None, "/v1/workspaces")).await.is_problem(400, "bad-request", &["Host"]);
    assert_eq!(api.send(send(Some("pod-1.cluster"), "/healthz")).await.status, 200);
}

#[tokio::test]
async fn what_is_no_route_and_what_is_no_method_are_problems_too() {
    let api = api().await;
    for path in ["/", "/v1", "/v1/workspaces/", "/v1/workspaces/acme/nothing", "/v2/workspaces"] {
        api.ask("GET", path, None).await.is_problem(404, "no-such-route", &[]);
    }
    let answer = api.ask("PUT", "/v1/workspaces", None).await;
    answer.is_problem(405, "method-not-allowed", &["Allow"]);
    let allow = answer.headers["allow"].to_str().expect("text");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn a_bad_body_names_field_and_place() {
    let api = api().await;
    let create = async |body: &str| api.ask("POST", "/v1/workspaces", Some(body)).await;
    create("{").await.is_problem(400, "bad-request", &["line 1 column"]);
    create(r#"{"slug":"acme"}"#).await.is_problem(422, "invalid", &["tier"]);
    create(r#"{"slug":"Acme","tier":"pro"}"#).await.is_problem(422, "invalid", &["slug", "workspace slug", "column"]);
    create(r#"{"slug":"acme","tier":"pro","tirr":1}"#).await.is_problem(422, "invalid", &["tirr", "column"]);
    create(r#"{"slug":"acme","tier":"pro","plugins":["x y"]}"#).await.is_problem(422, "invalid", &["plugins[0]"]);
    let wanted = r#"{"slug":"acme","tier":"pro","app_config":{"a":{"$file":"/etc/passwd"}}}"#;
    create(wanted).await.is_problem(422, "invalid", &["app_config.a.$file"]);
    for (name, text) in [("../x.yaml", "a: 1"), ("x.txt", "a: 1"), (".yaml", "a: 1"), ("x.yaml", " ")] {
        let body = serde_json::json!({"slug": "acme", "tier": "pro", "catalog": {name: text}}).to_string();
        create(&body).await.is_problem(422, "invalid", &["catalog."]);
    }
    let patch = r#"{"app_config":{"a":"${HOME}"}}"#;
    api.ask("PATCH", "/v1/workspaces/acme", Some(patch)).await.is_problem(422, "invalid", &["app_config.a"]);
    let deep = format!("{{\"app_config\":{}1{}}}", "{\"a\":".repeat(100), "}".repeat(100));
    api.ask("PATCH", "/v1/workspaces/acme", Some(&deep)).await.is_problem(422, "invalid", &["32 levels"]);
    let plain = Request::post("/v1/workspaces").header("host", "localhost");
    let plain = plain.header("authorization", format!("Bearer {TOKEN}")).body(Body::from("{}")).expect("a request");
    api.send(plain).await.is_problem(415, "unsupported-media-type", &["application/json"]);
}

#[tokio::test]
async fn bodies_have_a_limit_and_catalogues_a_larger_one() {
    let api = api().await;
    let body = |size: usize| format!("{{\"token\":\"{}\"}}", "a".repeat(size));
    let link = "/v1/workspaces/acme/login-links";
    api.ask("POST", link, Some(&body(1 << 20))).await.is_problem(413, "too-large", &["1 MiB"]);
    assert_ne!(api.ask("POST", "/v1/workspaces", Some(&body(2 << 20))).await.status, 413);
    assert_ne!(api.ask("PATCH", "/v1/workspaces/acme", Some(&body(2 << 20))).await.status, 413);
    api.ask("POST", "/v1/workspaces", Some(&body(17 << 20))).await.is_problem(413, "too-large", &[]);
}

#[tokio::test]
async fn bad_names_and_queries_are_refused_before_the_registry_is_asked() {
    let api = api().await;
    api.ask("GET", "/v1/workspaces/Acme", None).await.is_problem(400, "bad-request", &["\"Acme\"", "slug"]);
    api.ask("GET", "/v1/workspaces/a%2Fb", None).await.is_problem(400, "bad-request", &["slug"]);
    api.ask("GET", "/v1/workspaces/%FF", None).await.is_problem(400, "bad-request", &[]);
    api.ask("GET", "/v1/workspaces/acme?wait=soon", None).await.is_problem(400, "bad-request", &["soon", "ready"]);
    api.ask("GET", "/v1/workspaces/acme?wat=1", None).await.is_problem(400, "bad-request", &["wat"]);
    api.ask("GET", "/v1/workspaces/acme/logs?lines=x", None).await.is_problem(400, "bad-request", &["lines"]);
    for path in ["", "?wait=ready", "?wait=gone", "/events", "/logs"] {
        let path = format!("/v1/workspaces/acme{path}");
        api.ask("GET", &path, None).await.is_problem(404, "not-found", &["acme"]);
    }
}

#[tokio::test]
async fn an_explanation_that_cannot_be_given_says_why() {
    let api = api().await;
    let explain = async |body: &str| api.ask("POST", "/v1/policies/explain", Some(body)).await;
    explain(r#"{"workspace": "acme"}"#).await.is_problem(404, "not-found", &["acme"]);
    let missing = explain(r#"{"workspace": "acme", "tier": "pro"}"#).await;
    missing.is_problem(404, "not-found", &["no policies are loaded for tier pro"]);
    explain(r#"{"workspace": "acme", "teir": "pro"}"#).await.is_problem(422, "invalid", &["teir"]);
    explain(r#"{"workspace": "acme", "path": "/API/x"}"#).await.is_problem(422, "invalid", &["more than one way"]);
    explain(r#"{"workspace": "acme", "headers": {"a b": "1"}}"#).await.is_problem(422, "invalid", &["headers.a b"]);
}

#[tokio::test]
async fn monitoring_needs_no_token() {
    let api = api().await;
    let get = async |path: &str| {
        api.send(Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request")).await
    };
    assert_eq!(get("/healthz").await.status, 200);
    let loading = get("/readyz").await;
    loading.is_problem(503, "not-ready", &[]);
    assert_eq!(loading.headers["retry-after"], "2");
    api.ready.store(true, Ordering::Release);
    assert_eq!(get("/readyz").await.status, 200);
    let metrics = get("/metrics").await;
    assert!(metrics.body.contains("orbitd_tries_total 0") && metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
}

#[tokio::test]
async fn the_description_names_every_route_with_its_methods() {
    let api = api().await;
    let described: Value = serde_json::from_str(&api.ask("GET", "/openapi.json", None).await.body).expect("JSON");
    let described = described["paths"].as_object().expect("paths");
    for (path, operations) in described {
        let operations = operations.as_object().expect("operations");
        let concrete = path
            .replace("{slug}", "acme")
            .replace("{tier}", "pro")
            .replace("{binding}", "router")
            .replace("{backup}", "b")
            .replace("{database}", "d");
        let answer = api.ask("TRACE", &concrete, None).await;
        assert_eq!(answer.status, 405, "{path} is a route");
        let allow = answer.headers["allow"].to_str().expect("text").to_lowercase();
        let mut allowed: Vec<_> = allow.split(',').filter(|method| *method != "head").collect();
        allowed.sort_unstable();
        let mut methods: Vec<_> = operations.keys().map(String::as_str).filter(|key| *key != "parameters").collect();
        methods.sort_unstable();
        assert_eq!(methods, allowed, "{path}");
    }
    // The router can't be asked for its routes; its source can.
    let routes = include_str!("mod.rs").split(".route(").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let missing: Vec<_> = routes.filter(|route| !described.contains_key(*route)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

#[tokio::test]
async fn a_connection_is_served_and_a_stop_ends_it() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let cancel = CancellationToken::new();
    let api = api().await;
    let server = tokio::spawn(serve(listener, api.router.clone(), cancel.clone()));
    let mut client = TcpStream::connect(address).await.expect("connected");
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut head = [0; 15];
    client.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    let mut large = TcpStream::connect(address).await.expect("connected");
    let _ = large.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(64 << 10)).as_bytes()).await;
    let mut answer = vec![0; 12];
    large.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 431", "the head has a limit");

    cancel.cancel();
    // The idle connection must not hold the stop back.
    tokio::time::timeout(std::time::Duration::from_secs(3), server).await.expect("ended").expect("no panic");
    assert!(TcpStream::connect(address).await.is_err());
}
