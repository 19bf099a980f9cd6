//! Tokens that must not open anything (catalogue rows J-01…J-23), through the real front. What is refused never reaches the
//! instance.

use orbitd_tests::{
    Issuer,
    tokens::{assemble, now},
    wire,
};
use serde_json::{Value, json};

use crate::fixtures;

/// Row id, what is wrong, the token.
type Row = (&'static str, &'static str, String);

fn rows(issuer: &Issuer) -> Vec<Row> {
    let header = issuer.header();
    let claims = issuer.claims(&["acme"]);
    let good = issuer.token(&["acme"]);
    let with = |base: &Value, name: &str, value: Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    let without = |base: &Value, name: &str| {
        let mut changed = base.clone();
        changed.as_object_mut().expect("an object").remove(name);
        changed
    };
    let head = |name: &str, value: Value| issuer.sign(&with(&header, name, value), &claims);
    let claim = |name: &str, value: Value| issuer.sign(&header, &with(&claims, name, value));
    let parts: Vec<&str> = good.split('.').collect();
    let other = Issuer::new(&issuer.kid);
    let hmac = |secret: &[u8]| {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": issuer.kid}).to_string();
        let signed = assemble(&header, &claims.to_string(), b"");
        let signed = signed.trim_end_matches('.');
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        assemble(&header, &claims.to_string(), tag.as_ref())
    };
    let text = claims.to_string();
    let twice = |extra: &str| format!("{{{extra},{}", &text[1..]);
    vec![
        ("J-01", "alg none, no signature", assemble(&with(&header, "alg", json!("none")).to_string(), &text, b"")),
        ("J-01", "alg nOnE", assemble(&with(&header, "alg", json!("nOnE")).to_string(), &text, b"")),
        ("J-01", "alg missing", issuer.sign(&without(&header, "alg"), &claims)),
        ("J-01", "alg a list", head("alg", json!(["ES256"]))),
        ("J-01", "empty signature", format!("{}.{}.", parts[0], parts[1])),
        ("J-02", "HS256 with the public key", hmac(&issuer.public_point())),
        ("J-02", "HS256 with the key set's text", hmac(issuer.jwks().to_string().as_bytes())),
        ("J-03", "alg ES384", head("alg", json!("ES384"))),
        ("J-03", "alg EdDSA", head("alg", json!("EdDSA"))),
        ("J-04", "signature of zeros", assemble(&header.to_string(), &text, &[0; 64])),
        ("J-04", "signature cut", good[..good.len() - 4].to_owned()),
        ("J-04", "another key under the same name", other.token(&["acme"])),
        (
            "J-04",
            "claims changed after signing",
            format!(
                "{}.{}.{}",
                parts[0],
                other.token(&["acme", "globex"]).split('.').nth(1).unwrap_or_default(),
                parts[2]
            ),
        ),
        ("J-08", "key in the header", other.sign(&with(&header, "jwk", other.jwks()["keys"][0].clone()), &claims)),
        (
            "J-08",
            "key set named in the header",
            other.sign(&with(&header, "jku", json!("http://127.0.0.1:1/jwks")), &claims),
        ),
        ("J-09", "unknown key name", issuer.sign(&with(&header, "kid", json!("nobody")), &claims)),
        ("J-09", "key name is a path", issuer.sign(&with(&header, "kid", json!("../../dev/null")), &claims)),
        ("J-11", "crit that nobody knows", head("crit", json!(["exp"]))),
        ("J-11", "b64 false", issuer.sign(&with(&with(&header, "crit", json!(["b64"])), "b64", json!(false)), &claims)),
        ("J-12", "typ of a logout token", head("typ", json!("logout+jwt"))),
        ("J-12", "typ a number", head("typ", json!(7))),
        ("J-13", "exp missing", issuer.sign(&header, &without(&claims, "exp"))),
        ("J-13", "exp past", claim("exp", json!(now() - 120))),
        ("J-13", "exp a text", claim("exp", json!("9999999999"))),
        ("J-13", "exp negative", claim("exp", json!(-1))),
        ("J-13", "exp 1e300", claim("exp", json!(1e300))),
        ("J-13", "lives a hundred years", claim("exp", json!(now() + 3_155_760_000_i64))),
        ("J-14", "nbf in the future", claim("nbf", json!(now() + 3600))),
        ("J-14", "nbf a text", claim("nbf", json!("0"))),
        ("J-14", "iat in the future", claim("iat", json!(now() + 3600))),
        ("J-16", "iss missing", issuer.sign(&header, &without(&claims, "iss"))),
        ("J-16", "iss of somebody else", claim("iss", json!("https://evil.test"))),
        ("J-16", "iss with a slash", claim("iss", json!("https://issuer.test/"))),
        ("J-16", "iss in capitals", claim("iss", json!("https://ISSUER.test"))),
        ("J-16", "iss longer", claim("iss", json!("https://issuer.test.evil"))),
        ("J-16", "iss a list", claim("iss", json!(["https://issuer.test", "https://evil.test"]))),
        ("J-16", "iss a list of one", claim("iss", json!(["https://issuer.test"]))),
        ("J-17", "aud missing", issuer.sign(&header, &without(&claims, "aud"))),
        ("J-17", "aud of somebody else", claim("aud", json!("another"))),
        ("J-17", "aud a number", claim("aud", json!(7))),
        ("J-17", "aud an empty list", claim("aud", json!([]))),
        ("J-17", "aud an object", claim("aud", json!({"orbitd": true}))),
        ("J-19", "iss twice", issuer.sign_text(&header.to_string(), &twice(r#""iss":"https://evil.test""#))),
        ("J-19", "exp twice", issuer.sign_text(&header.to_string(), &twice(r#""exp":1"#))),
        ("J-21", "padding", format!("{good}=")),
        ("J-21", "a fourth part", format!("{good}.{}", parts[2])),
        ("J-21", "a leading dot", format!(".{good}")),
        ("J-21", "not base64url", format!("{}.{}.{}", parts[0], parts[1], parts[2].replace(['-', '_'], "+"))),
        ("J-22", "20 kB", claim("filler", json!("x".repeat(20 << 10)))),
        ("J-32", "not a token at all", "hello".to_owned()),
    ]
}

#[tokio::test]
async fn bad_tokens_open_nothing() {
    let daemon = fixtures::echo().await;
    let origin = fixtures::instance_address(daemon, "acme").await;
    let mut wrong = Vec::new();
    let rows = rows(&daemon.issuer);
    for (n, (id, what, token)) in rows.iter().enumerate() {
        if token == &daemon.token(&["acme"]) {
            continue;
        }
        let reply = daemon.get("acme", &format!("/token-row-{n}-"), Some(token)).await;
        // 431: refused before anything reads it.
        if !matches!(reply.status.as_u16(), 401 | 431) {
            wrong.push(format!("{id} {what}: {} {}", reply.status, reply.text()));
        }
    }
    for arrived in wire::arrived(origin).await {
        let leaked: Vec<_> = (0..rows.len())
            .filter(|n| wire::count(&arrived.bytes, format!("/token-row-{n}-").as_bytes()) > 0)
            .collect();
        wrong.extend(leaked.into_iter().map(|n| format!("{} {} reached the instance", rows[n].0, rows[n].1)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn good_tokens_of_every_accepted_shape_open() {
    let daemon = fixtures::echo().await;
    let issuer = &daemon.issuer;
    let (header, claims) = (issuer.header(), issuer.claims(&["acme"]));
    let mut shapes = vec![("plain", issuer.token(&["acme"]))];
    let mut several = claims.clone();
    several["aud"] = json!(["another", "orbitd"]);
    shapes.push(("orbitd among the audiences", issuer.sign(&header, &several)));
    shapes.push(("typ at+jwt", issuer.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": issuer.kid}), &claims)));
    shapes.push(("no typ", issuer.sign(&json!({"alg": "ES256", "kid": issuer.kid}), &claims)));
    for (what, token) in shapes {
        let reply = daemon.get("acme", "/who", Some(&token)).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let host = daemon.host("acme");
        let cookie = format!("theme=dark; orbit_session={token}");
        let request = orbitd_tests::http::request("GET", &host, "/who", None, &[("cookie", &cookie)], "");
        let reply = orbitd_tests::http::send(daemon.proxy, request).await.expect("an answer");
        assert_eq!(reply.status, 200, "{what} in a cookie: {}", reply.text());
    }
}

#[tokio::test]
async fn no_token_is_a_401_and_two_are_an_error() {
    let daemon = fixtures::echo().await;
    let reply = daemon.get("acme", "/who", None).await.expect(401);
    assert!(!reply.header("www-authenticate").is_empty(), "{:?}", reply.headers);
    assert!(reply.header("content-type").starts_with("application/problem+json"), "{:?}", reply.headers);
    let page = daemon.send("GET", "acme", "/", None, &[("accept", "text/html,*/*;q=0.8")], "").await.expect(401);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    let token = daemon.token(&["acme"]);
    let second = format!("Bearer {token}");
    let reply = daemon.send("GET", "acme", "/who", Some(&token), &[("authorization", &second)], "").await;
    assert!(matches!(reply.status.as_u16(), 400 | 401), "two Authorization fields: {}", reply.status);
    let reply = daemon.get("acme", &format!("/who?access_token={token}"), None).await;
    reply.expect(401);
}
