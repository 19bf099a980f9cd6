//! A token issuer of the test's own: an ES256 key, its JWKS, and tokens as well made or as badly made as a case needs.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64URL},
};
use serde_json::{Value, json};

/// The `iss` that the test daemons trust.
pub const ISSUER: &str = "https://issuer.test";
/// The `aud` that they ask for.
pub const AUDIENCE: &str = "orbitd";

/// One signing key and its name.
pub struct Issuer {
    pair: EcdsaKeyPair,
    /// The key's name in header and JWKS.
    pub kid: String,
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64)
}

// === impl Issuer ===

impl Issuer {
    /// A new key under this name.
    pub fn new(kid: &str) -> Self {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).expect("randomness");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("a fresh key");
        Self { pair, kid: kid.to_owned() }
    }

    /// A key that is there already: PKCS#8 in PEM.
    pub fn from_pem(kid: &str, pem: &str) -> Self {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pkcs8 = STANDARD.decode(body).expect("base64");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a P-256 key");
        Self { pair, kid: kid.to_owned() }
    }

    /// The public half as a JWK set.
    pub fn jwks(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": B64URL.encode(&point[1..33]), "y": B64URL.encode(&point[33..65]),
        }]})
    }

    /// The uncompressed public point: what an attacker would use as a symmetric secret.
    pub fn public_point(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// A good token: `alice` is a developer of these workspaces, for an hour.
    pub fn token(&self, workspaces: &[&str]) -> String {
        self.sign(&self.header(), &self.claims(workspaces))
    }

    /// The header of a good token.
    pub fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "JWT", "kid": self.kid})
    }

    /// The claims of a good token.
    pub fn claims(&self, workspaces: &[&str]) -> Value {
        let roles: serde_json::Map<_, _> =
            workspaces.iter().map(|slug| ((*slug).to_owned(), json!(["developer"]))).collect();
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now(), "exp": now() + 3600,
            "workspaces": roles, "groups": ["team-a"],
        })
    }

    /// Header and claims as they are, signed.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// The same from text, for what a JSON value can't hold (a name twice).
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64URL.encode(header), B64URL.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("randomness");
        format!("{signed}.{}", B64URL.encode(signature.as_ref()))
    }
}

/// A JWS from text and a ready signature.
pub fn assemble(header: &str, claims: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", B64URL.encode(header), B64URL.encode(claims), B64URL.encode(signature))
}

/// The claims of a compact JWS, unchecked.
pub fn peek(token: &str) -> Option<Value> {
    serde_json::from_slice(&B64URL.decode(token.split('.').nth(1)?).ok()?).ok()
}
