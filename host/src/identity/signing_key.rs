//! A workspace's ES256 key and the Backstage user tokens it signs. Format: facts.md 1 ("Identity"), as Backstage's
//! `PluginTokenHandler`/`UserTokenHandler` verify it.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::ownership::Ownership;
use crate::ids::Digest;

/// How long a user token lives, seconds. The browser app asks again five minutes before its end, and needs 15 min at least.
pub const TOKEN_LIFETIME: i64 = 3600;
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Clocks of one machine: only rounding.
const LEEWAY: i64 = 5;

/// A user, in Backstage's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackstageUser {
    /// `user:default/alice`.
    pub entity_ref: String,
    /// `group:default/team-a`…; the user's own ref is always among them.
    pub ownership: Vec<String>,
}

/// A signed token.
#[derive(Debug, Clone)]
pub struct UserToken {
    /// The compact JWS.
    pub token: String,
    /// Seconds since the epoch.
    pub expires_at: i64,
}

/// The private key of one workspace. It never enters the instance.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    kid: String,
    issuer: String,
    ownership: Ownership,
}

/// Why a key can't be made or a token isn't one of ours.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The stored bytes are no P-256 key.
    #[error("the stored signing key is not a P-256 key in PKCS#8")]
    NotAKey,
    /// The system has no randomness.
    #[error("the system's random generator failed")]
    NoRandomness,
    /// Not signed by this key, or not for Backstage, or over.
    #[error("the token is not a living token of this workspace: {0}")]
    Refused(&'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}
#[derive(Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
    ent: Option<Vec<String>>,
}

// === impl SigningKey ===

impl SigningKey {
    /// A new key; `issuer` goes into `iss` (the workspace's public auth URL). The second value is the PKCS#8 to seal and store.
    pub fn generate(issuer: String) -> Result<(Self, Vec<u8>), SigningKeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| SigningKeyError::NoRandomness)?;
        Ok((Self::from_pkcs8(pkcs8.as_ref(), issuer)?, pkcs8.as_ref().to_vec()))
    }

    /// A stored key.
    pub fn from_pkcs8(pkcs8: &[u8], issuer: String) -> Result<Self, SigningKeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| SigningKeyError::NotAKey)?;
        // Named by what it is, so that two workspaces' keys never share a kid.
        let kid = Digest::of(pair.public_key().as_ref()).short();
        Ok(Self { pair, kid, issuer, ownership: Ownership::default() })
    }

    /// `{"keys":[…]}` with the public key.
    pub fn jwks(&self) -> Value {
        // Uncompressed point: 0x04, x (32 bytes), y (32 bytes).
        let point = self.pair.public_key().as_ref();
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": B64URL.encode(&point[1..33]), "y": B64URL.encode(&point[33..65]),
        }]})
    }

    /// A user token that this workspace's Backstage accepts for [`TOKEN_LIFETIME`].
    pub fn mint(&self, user: &BackstageUser, now: OffsetDateTime) -> Result<UserToken, SigningKeyError> {
        let iat = now.unix_timestamp();
        let exp = iat + TOKEN_LIFETIME;
        // `uip` proves a *limited* user token (cookies, other plugins): Backstage rebuilds exactly these bytes, so the order
        // of the keys is part of the format.
        let limited_header = format!(r#"{{"typ":"vnd.backstage.limited-user","alg":"ES256","kid":"{}"}}"#, self.kid);
        let sub = Value::from(user.entity_ref.as_str());
        let limited_payload = format!(r#"{{"sub":{sub},"iat":{iat},"exp":{exp}}}"#);
        let uip = self.sign_parts(&limited_header, &limited_payload)?.1;
        let header = format!(r#"{{"typ":"vnd.backstage.user","alg":"ES256","kid":"{}"}}"#, self.kid);
        let payload = json!({
            "iss": self.issuer, "sub": user.entity_ref, "ent": user.ownership, "aud": "backstage",
            "iat": iat, "exp": exp, "uip": uip,
        });
        let (signed, signature) = self.sign_parts(&header, &payload.to_string())?;
        self.ownership.remember(&user.entity_ref, &user.ownership, exp);
        Ok(UserToken { token: format!("{signed}.{signature}"), expires_at: exp })
    }

    /// The user of a full or limited token of this workspace. A limited token names no ownership: the user has what
    /// their last minted token said.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<BackstageUser, SigningKeyError> {
        use SigningKeyError::Refused;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused("too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused("not a JWS"))?;
        let (header, payload) = signed.split_once('.').ok_or(Refused("not a JWS"))?;
        let decode = |part: &str| B64URL.decode(part).map_err(|_| Refused("not base64url"));
        let parsed: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Refused("malformed header"))?;
        if parsed.alg != "ES256" || parsed.kid != self.kid {
            return Err(Refused("another key"));
        }
        if !matches!(parsed.typ.as_str(), "vnd.backstage.user" | "vnd.backstage.limited-user") {
            return Err(Refused("not a user token"));
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| Refused("wrong signature"))?;
        let claims: Claims = serde_json::from_slice(&decode(payload)?).map_err(|_| Refused("malformed claims"))?;
        let now = now.unix_timestamp();
        if claims.exp <= now - LEEWAY || claims.iat > now + LEEWAY {
            return Err(Refused("expired"));
        }
        let ownership = claims.ent.unwrap_or_else(|| self.ownership.of(&claims.sub));
        Ok(BackstageUser { entity_ref: claims.sub, ownership })
    }

    fn sign_parts(&self, header: &str, payload: &str) -> Result<(String, String), SigningKeyError> {
        let signed = format!("{}.{}", B64URL.encode(header), B64URL.encode(payload));
        let signature =
            self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| SigningKeyError::NoRandomness)?;
        Ok((signed, B64URL.encode(signature.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> BackstageUser {
        BackstageUser { entity_ref: "user:default/alice".into(), ownership: vec!["group:default/team-a".into()] }
    }

    #[test]
    fn a_token_is_believed_by_its_own_workspace_only_and_only_while_it_lives() {
        let now = OffsetDateTime::now_utc();
        let (acme, stored) = SigningKey::generate("http://acme.localhost".into()).expect("a key");
        let (globex, _) = SigningKey::generate("http://globex.localhost".into()).expect("a key");
        let token = acme.mint(&alice(), now).expect("signed").token;
        let again = SigningKey::from_pkcs8(&stored, "http://acme.localhost".into()).expect("stored key");
        assert_eq!(again.verify(&token, now).expect("its own"), alice());
        assert!(globex.verify(&token, now).is_err(), "another workspace's key");
        assert!(acme.verify(&token, now + time::Duration::seconds(TOKEN_LIFETIME + 10)).is_err(), "expired");
        // Backstage makes the limited token from the full one: `sub`, `iat`, `exp` and the `uip` signature.
        let part = |text: &str| String::from_utf8(B64URL.decode(text).expect("base64url")).expect("text");
        let claims: Value = serde_json::from_str(&part(token.split('.').nth(1).expect("payload"))).expect("JSON");
        let header = format!(r#"{{"typ":"vnd.backstage.limited-user","alg":"ES256","kid":"{}"}}"#, acme.kid);
        let payload = format!(r#"{{"sub":{},"iat":{},"exp":{}}}"#, claims["sub"], claims["iat"], claims["exp"]);
        let uip = claims["uip"].as_str().expect("a signature");
        let limited = format!("{}.{}.{uip}", B64URL.encode(header), B64URL.encode(payload));
        assert_eq!(acme.verify(&limited, now).expect("limited"), alice());
        let nobody = BackstageUser { entity_ref: alice().entity_ref, ownership: vec![alice().entity_ref] };
        assert_eq!(again.verify(&limited, now).expect("another daemon's"), nobody);
        let forged = token.replace(&token[40..44], "AAAA");
        assert!(acme.verify(&forged, now).is_err(), "changed");
    }
}
