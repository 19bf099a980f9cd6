//! The J rows of the catalogue that need no network. Tokens are made by hand, so that anything can be wrong in them.

use std::path::Path;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};
use serde_json::json;

use super::*;

const NOW: i64 = 2_000_000_000;
const ISSUER: &str = "https://idp.example";

fn ec() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
}
fn ec_jwk(key: &EcdsaKeyPair, kid: &str) -> Value {
    let point = key.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
        "x": B64URL.encode(&point[1..33]), "y": B64URL.encode(&point[33..])})
}
fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "orbitd", "sub": "alice", "iat": NOW - 10, "exp": NOW + 600})
}
fn sign_es256(key: &EcdsaKeyPair, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", B64URL.encode(header), B64URL.encode(payload));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
    format!("{signed}.{}", B64URL.encode(signature.as_ref()))
}
fn issuer(file: &Path) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.into(),
        audience: "orbitd".into(),
        jwks_file: Some(file.to_owned()),
        jwks_url: None,
        algorithms: ["ES256", "RS256", "EdDSA"].map(String::from).into(),
        types: ["JWT", "at+jwt"].map(String::from).into(),
        leeway_s: 30,
        max_lifetime_s: 86_400,
    }
}
fn open(issuers: Vec<IssuerSettings>) -> Arc<Authenticator> {
    Authenticator::open(&AuthSettings { issuers }).expect("opened")
}

struct Rig {
    dir: tempfile::TempDir,
    key: EcdsaKeyPair,
    authenticator: Arc<Authenticator>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (key, file) = (ec(), dir.path().join("jwks.json"));
        std::fs::write(&file, json!({"keys": [ec_jwk(&key, "k1")]}).to_string()).expect("written");
        let authenticator = open(vec![issuer(&file)]);
        Self { dir, key, authenticator }
    }
    fn token(&self, claims: &Value) -> String {
        sign_es256(&self.key, r#"{"alg":"ES256","kid":"k1"}"#, &claims.to_string())
    }
    async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthnRefusal> {
        self.authenticator.verify_at(token, NOW).await
    }
    async fn reason(&self, token: &str) -> Reason {
        match self.verify(token).await {
            Err(AuthnRefusal::Invalid(reason)) => reason,
            other => panic!("{other:?} for {token}"),
        }
    }
}

#[tokio::test]
async fn a_good_token_is_verified_and_remembered_until_its_end() {
    let rig = Rig::new();
    let token = rig.token(&claims());
    let first = rig.verify(&token).await.expect("good");
    assert_eq!((&*first.issuer, first.subject.as_str(), first.expires_at), (ISSUER, "alice", NOW + 600));
    let second = rig.verify(&token).await.expect("good");
    assert!(Arc::ptr_eq(&first, &second), "remembered");
    let late = rig.authenticator.verify_at(&token, NOW + 629).await;
    assert!(late.is_ok(), "within the leeway");
    let over = rig.authenticator.verify_at(&token, NOW + 630).await;
    assert_eq!(over.expect_err("over"), AuthnRefusal::Invalid(Reason::Expired));
}

#[tokio::test]
async fn claims_must_be_present_typed_and_exact() {
    let rig = Rig::new();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        rig.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        rig.token(&claims)
    };
    for (token, reason) in [
        (without("iss"), Reason::Issuer),
        (with("iss", json!([ISSUER])), Reason::Issuer),
        (with("iss", json!("https://idp.example/")), Reason::Issuer),
        (with("iss", json!("https://IDP.example")), Reason::Issuer),
        (with("iss", json!("https://idp.example.evil")), Reason::Issuer),
        (without("aud"), Reason::Audience),
        (with("aud", json!(7)), Reason::Audience),
        (with("aud", json!("Orbitd")), Reason::Audience),
        (with("aud", json!([])), Reason::Audience),
        (with("aud", json!({"orbitd": true})), Reason::Audience),
        (with("aud", json!(["orbitd", 7])), Reason::Audience),
        (with("aud", json!(vec!["orbitd"; 17])), Reason::Audience),
        (without("sub"), Reason::Subject),
        (with("sub", json!("")), Reason::Subject),
        (with("sub", json!(1)), Reason::Subject),
        (with("sub", json!("a".repeat(1025))), Reason::Subject),
        (without("exp"), Reason::Time),
        (with("exp", json!("2000000600")), Reason::Time),
        (with("exp", json!(-1)), Reason::Time),
        (with("exp", json!(1e300)), Reason::Time),
        (with("exp", json!(null)), Reason::Time),
        (with("exp", json!(0)), Reason::Expired),
        (with("exp", json!(NOW - 30)), Reason::Expired),
        (with("exp", json!(NOW + 3_155_760_000i64)), Reason::Lifetime),
        (with("nbf", json!(NOW + 31)), Reason::Time),
        (with("nbf", json!("now")), Reason::Time),
        (with("nbf", json!(null)), Reason::Time),
        (with("iat", json!(NOW + 31)), Reason::Time),
        (with("iat", json!(NOW - 86_400)), Reason::Lifetime),
    ] {
        assert_eq!(rig.reason(&token).await, reason, "{token}");
    }
    for good in [
        with("aud", json!(["other", "orbitd"])),
        with("exp", json!(NOW - 29)),
        with("exp", json!(NOW as f64 + 10.5)),
        with("nbf", json!(NOW + 30)),
        without("iat"),
    ] {
        rig.verify(&good).await.expect("good");
    }
}

#[tokio::test]
async fn headers_that_change_the_meaning_are_refused() {
    let rig = Rig::new();
    let payload = claims().to_string();
    let header = |header: &str| sign_es256(&rig.key, header, &payload);
    for (token, reason) in [
        (header(r#"{"alg":"none","kid":"k1"}"#), Reason::Algorithm),
        (header(r#"{"alg":"HS256","kid":"k1"}"#), Reason::Algorithm),
        (header(r#"{"alg":"es256","kid":"k1"}"#), Reason::Algorithm),
        (header(r#"{"alg":"RS256","kid":"k1"}"#), Reason::Key),
        (header(r#"{"alg":["ES256"],"kid":"k1"}"#), Reason::Header),
        (header(r#"{"kid":"k1"}"#), Reason::Header),
        (header(r#"{"alg":"ES256","kid":7}"#), Reason::Header),
        (header(r#"{"alg":"ES256","kid":"k1","crit":["x"],"x":1}"#), Reason::Header),
        (header(r#"{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}"#), Reason::Header),
        (header(r#"{"alg":"ES256","kid":"k1","cty":"JWT"}"#), Reason::Header),
        (header(r#"{"alg":"ES256","kid":"k1","typ":"logout+jwt"}"#), Reason::Type),
        (header(r#"{"alg":"ES256","kid":"k1","typ":"vnd.backstage.user"}"#), Reason::Type),
        (header(r#"{"alg":"ES256","alg":"none","kid":"k1"}"#), Reason::Malformed),
        (header(r#"{"alg":"ES256","kid":"../../dev/null"}"#), Reason::Key),
        (header(r#"{"alg":"ES256","kid":""}"#), Reason::Key),
    ] {
        assert_eq!(rig.reason(&token).await, reason, "{token}");
    }
    rig.verify(&header(r#"{"alg":"ES256","kid":"k1","typ":"AT+jwt"}"#)).await.expect("typ without case");
    rig.verify(&header(r#"{"alg":"ES256","jku":"http://127.0.0.1:1/","x5u":"file:///"}"#))
        .await
        .expect("no kid, one key; jku is not looked at");
}

#[tokio::test]
async fn only_the_exact_compact_form_with_the_right_signature_passes() {
    let rig = Rig::new();
    let good = rig.token(&claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let other = sign_es256(&ec(), r#"{"alg":"ES256","kid":"k1"}"#, &claims().to_string());
    let der =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, rig.key.to_pkcs8v1().expect("exported").as_ref())
            .expect("a key")
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("signed");
    let twice = format!(r#"{{"iss":"{ISSUER}","iss":"{ISSUER}"}}"#);
    for (token, reason) in [
        (other, Reason::Signature),
        (format!("{signed}.{}", B64URL.encode([0; 64])), Reason::Signature),
        (format!("{signed}.{}", B64URL.encode(der.as_ref())), Reason::Signature),
        (format!("{signed}."), Reason::Signature),
        (format!("{signed}.{}", &signature[..40]), Reason::Signature),
        (format!("{good}="), Reason::Malformed),
        (format!("{good}.x"), Reason::Malformed),
        (format!(".{good}"), Reason::Malformed),
        (format!(" {good}"), Reason::Malformed),
        (format!("{good}\n"), Reason::Malformed),
        (signed.to_owned(), Reason::Malformed),
        (String::new(), Reason::Malformed),
        ("a".repeat(MAX_TOKEN_BYTES + 1), Reason::TooLong),
        (sign_es256(&rig.key, r#"{"alg":"ES256"}"#, &twice), Reason::Malformed),
    ] {
        assert_eq!(rig.reason(&token).await, reason, "{token}");
    }
}

#[tokio::test]
async fn a_changed_key_file_ends_remembered_tokens_and_a_broken_one_does_not() {
    let rig = Rig::new();
    let file = rig.dir.path().join("jwks.json");
    let token = rig.token(&claims());
    rig.verify(&token).await.expect("good");
    std::fs::write(&file, "{").expect("written");
    rig.authenticator.verify_at(&token, NOW + 5).await.expect("a broken file changes nothing");
    let next = ec();
    std::fs::write(&file, json!({"keys": [ec_jwk(&next, "k2")]}).to_string()).expect("written");
    let refused = rig.authenticator.verify_at(&token, NOW + 10).await.expect_err("its key is gone");
    assert_eq!(refused, AuthnRefusal::Invalid(Reason::Key));
    let token = sign_es256(&next, r#"{"alg":"ES256","kid":"k2"}"#, &claims().to_string());
    rig.authenticator.verify_at(&token, NOW + 10).await.expect("the new key");
    std::fs::remove_file(&file).expect("removed");
    rig.authenticator.verify_at(&token, NOW + 20).await.expect("the last good keys go on");
    let mut long = claims();
    (long["iat"], long["exp"]) = (json!(NOW + 86_400), json!(NOW + 2 * 86_400));
    let token = sign_es256(&next, r#"{"alg":"ES256","kid":"k2"}"#, &long.to_string());
    let stale = rig.authenticator.verify_at(&token, NOW + 86_400 + 3_600).await.expect_err("not for ever");
    assert_eq!(stale, AuthnRefusal::KeysUnavailable);
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_and_algorithms() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (ec(), ec());
    let ed = Ed25519KeyPair::generate().expect("a key");
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let (first, second) = (dir.path().join("1.json"), dir.path().join("2.json"));
    std::fs::write(&first, json!({"keys": [ec_jwk(&one, "same")]}).to_string()).expect("written");
    let ed_jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": B64URL.encode(ed.public_key().as_ref())});
    let rsa_jwk = json!({"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": B64URL.encode(&public.n), "e": B64URL.encode(&public.e)});
    std::fs::write(&second, json!({"keys": [ec_jwk(&two, "same"), ed_jwk, rsa_jwk]}).to_string()).expect("written");
    let mut other = issuer(&second);
    other.issuer = "https://other.example".into();
    let mut only_ec = issuer(&first);
    only_ec.algorithms = vec!["ES256".into()];
    let authenticator = open(vec![only_ec, other]);
    let mut theirs = claims();
    theirs["iss"] = json!("https://other.example");
    let payload = theirs.to_string();
    let good = sign_es256(&two, r#"{"alg":"ES256","kid":"same"}"#, &payload);
    authenticator.verify_at(&good, NOW).await.expect("its own issuer's key");
    let crossed = sign_es256(&one, r#"{"alg":"ES256","kid":"same"}"#, &payload);
    let refused = authenticator.verify_at(&crossed, NOW).await.expect_err("another issuer's key");
    assert_eq!(refused, AuthnRefusal::Invalid(Reason::Signature));

    let signed = format!("{}.{}", B64URL.encode(r#"{"alg":"EdDSA","kid":"ed"}"#), B64URL.encode(&payload));
    let token = format!("{signed}.{}", B64URL.encode(ed.sign(signed.as_bytes()).as_ref()));
    authenticator.verify_at(&token, NOW).await.expect("Ed25519");
    let signed = format!("{}.{}", B64URL.encode(r#"{"alg":"RS256","kid":"rsa"}"#), B64URL.encode(&payload));
    let mut signature = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signed");
    let token = format!("{signed}.{}", B64URL.encode(&signature));
    authenticator.verify_at(&token, NOW).await.expect("RSA");
    let unnamed = sign_es256(&two, r#"{"alg":"ES256"}"#, &payload);
    authenticator.verify_at(&unnamed, NOW).await.expect("no kid, one key of its algorithm");
}

#[test]
fn key_documents_and_settings_that_cannot_be_trusted_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jwks.json");
    let key = ec();
    let jwk = ec_jwk(&key, "k1");
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    for (document, says) in [
        (json!({"keys": [jwk, ec_jwk(&ec(), "k1")]}), "share one `kid`"),
        (json!({"keys": []}), "no usable key"),
        (json!({}), "no list"),
        (json!({"keys": [with("d", json!("AAAA"))]}), "private"),
        (json!({"keys": [{"kty": "oct", "k": "AAAA"}]}), "symmetric"),
        (json!({"keys": [with("use", json!("enc"))]}), "`use`"),
        (json!({"keys": [with("key_ops", json!(["sign"]))]}), "`key_ops`"),
        (json!({"keys": [with("alg", json!("HS256"))]}), "`alg`"),
        (json!({"keys": [with("crv", json!("P-384"))]}), "curve"),
        (json!({"keys": [with("x", json!(B64URL.encode([7; 32])))]}), "not a point"),
        (json!({"keys": [{"kty": "RSA", "n": B64URL.encode([0xff; 128]), "e": "AQAB"}]}), "2048"),
        (json!({"keys": [{"kty": "RSA", "n": B64URL.encode([0xff; 256]), "e": "AQ"}]}), "exponent"),
    ] {
        std::fs::write(&file, document.to_string()).expect("written");
        let error = Authenticator::open(&AuthSettings { issuers: vec![issuer(&file)] }).err().expect("refused");
        assert!(error.to_string().contains(says), "{error} for {document}");
    }
    std::fs::write(&file, json!({"keys": [with("use", json!("enc")), ec_jwk(&ec(), "k1")]}).to_string())
        .expect("written");
    open(vec![issuer(&file)]);

    let mut http = issuer(&file);
    (http.jwks_file, http.jwks_url) = (None, Some("http://idp.example/keys".into()));
    let mut both = issuer(&file);
    both.jwks_url = Some("https://idp.example/keys".into());
    let mut unknown = issuer(&file);
    unknown.algorithms = vec!["HS256".into()];
    for (bad, says) in [
        (vec![http], "loopback"),
        (vec![both], "either"),
        (vec![unknown], "HS256"),
        (vec![issuer(&file), issuer(&file)], "twice"),
        (vec![issuer(Path::new("/nowhere/jwks.json"))], "/nowhere/jwks.json"),
    ] {
        let error = Authenticator::open(&AuthSettings { issuers: bad }).err().expect("refused");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn without_issuers_every_token_is_refused() {
    let rig = Rig::new();
    let nobody = open(Vec::new());
    let refused = nobody.verify_at(&rig.token(&claims()), NOW).await.expect_err("nobody is trusted");
    assert_eq!(refused, AuthnRefusal::Invalid(Reason::Issuer));
}

/// A key URL that answers each connection with what `answer` says, and counts.
async fn fake_idp(answer: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let asked = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer(number).as_bytes()).await;
        }
    });
    (url, asked)
}

fn http_ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_key_url_is_asked_once_per_cooldown_whatever_the_tokens_say() {
    let key = ec();
    let document = json!({"keys": [ec_jwk(&key, "k1")]}).to_string();
    let (url, asked) = fake_idp(move |_| http_ok(&document)).await;
    let mut settings = issuer(Path::new(""));
    (settings.jwks_file, settings.jwks_url) = (None, Some(url));
    let authenticator = open(vec![settings]);
    let payload = claims().to_string();
    let good = sign_es256(&key, r#"{"alg":"ES256","kid":"k1"}"#, &payload);
    for n in 0..50 {
        let unknown = sign_es256(&key, &format!(r#"{{"alg":"ES256","kid":"unknown-{n}"}}"#), &payload);
        let refused = authenticator.verify_at(&unknown, NOW).await.expect_err("unknown");
        assert_eq!(refused, AuthnRefusal::Invalid(Reason::Key));
        authenticator.verify_at(&good, NOW).await.expect("others are not disturbed");
    }
    // One for the first token, one because keys that were never confirmed are due at once.
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_key_url_that_gives_no_keys_is_unavailable_and_not_followed() {
    let (elsewhere, followed) = fake_idp(|_| http_ok("{}")).await;
    for answer in [
        "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        http_ok("<html>"),
        http_ok(r#"{"keys":[]}"#),
        http_ok(&" ".repeat((256 << 10) + 1)),
        format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ] {
        let (url, _) = fake_idp(move |_| answer.clone()).await;
        let mut settings = issuer(Path::new(""));
        (settings.jwks_file, settings.jwks_url) = (None, Some(url));
        let token = sign_es256(&ec(), r#"{"alg":"ES256","kid":"k1"}"#, &claims().to_string());
        let refused = open(vec![settings]).verify_at(&token, NOW).await.expect_err("no keys");
        assert_eq!(refused, AuthnRefusal::KeysUnavailable);
    }
    assert_eq!(followed.load(std::sync::atomic::Ordering::SeqCst), 0);
}
