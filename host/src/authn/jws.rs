//! A compact JWS taken apart, nothing believed yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};
use serde_json::{Map, Value};

use super::{Reason, strict_json};

/// Header, claims and signature of a token, unverified.
pub(super) struct Jws<'a> {
    /// `alg`.
    pub algorithm: String,
    /// `kid`, only ever compared with loaded keys' ids.
    pub key_id: Option<String>,
    /// `typ`.
    pub kind: Option<String>,
    /// The payload.
    pub claims: Map<String, Value>,
    /// What was signed.
    pub signed: &'a [u8],
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart. The base64 is strict (no padding, no other alphabet, no loose last bits); `jwk`, `jku`, `x5c`
    /// and `x5u` are never looked at.
    pub fn parse(token: &'a str) -> Result<Self, Reason> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        // A fifth part would be a JWE; a dot in the payload fails as base64.
        let decode = |part: &str| B64URL.decode(part).map_err(|_| Reason::Malformed);
        let header = strict_json::object(&decode(header)?).ok_or(Reason::Malformed)?;
        // Extensions that change what the signature means, or nested and encrypted tokens: none is understood here.
        if ["crit", "b64", "zip", "cty", "enc"].iter().any(|name| header.contains_key(*name)) {
            return Err(Reason::Header);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Reason::Header),
        };
        Ok(Self {
            algorithm: text("alg")?.ok_or(Reason::Header)?,
            key_id: text("kid")?,
            kind: text("typ")?,
            claims: strict_json::object(&decode(payload)?).ok_or(Reason::Malformed)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }

    /// `iss`, if it is one string.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}
