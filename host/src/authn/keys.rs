//! An issuer's public keys, from a JWKS document (RFC 7517). A key that can't be used is left out and named in the log; a
//! document in which two keys share an id is refused whole, because which of them would count is anybody's guess.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};
use serde_json::{Map, Value};

use super::strict_json;

/// Keys in one document; past it the document is refused.
const MAX_KEYS: usize = 64;

/// A signature algorithm that orbitd knows. No `none`, nothing symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519.
    EdDsa,
}

/// The usable keys of one document.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Why keys were left out, without key material.
    pub notices: Vec<String>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Parsed(Box<ParsedPublicKey>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

// === impl Algorithm ===

impl Algorithm {
    /// From a JOSE name, exactly.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JWKS document; the error says in one sentence what is wrong with it.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let document = strict_json::object(document).ok_or("it is no JSON object, or one that names a member twice")?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err("it has no list `keys`".into());
        };
        if entries.len() > MAX_KEYS {
            return Err(format!("it holds {} keys (at most {MAX_KEYS})", entries.len()));
        }
        let mut set = Self::default();
        for (position, entry) in entries.iter().enumerate() {
            match entry.as_object().ok_or("not an object").and_then(Key::parse) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.notices.push(format!("key {} is left out: {reason}", position + 1)),
            }
        }
        // Over the usable ones only: an encryption key may share the id of a signature key.
        for (position, key) in set.keys.iter().enumerate() {
            if key.id.is_some() && set.keys[..position].iter().any(|other| other.id == key.id) {
                return Err("two of its keys share one `kid`".into());
            }
        }
        Ok(set)
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks a signature with the key of this id; without an id, with the only key of this algorithm. `None` if there is
    /// no such key.
    pub fn verify(&self, id: Option<&str>, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Option<bool> {
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id)));
        let key = candidates.next()?;
        if candidates.next().is_some() {
            return None;
        }
        Some(match &key.material {
            Material::Parsed(parsed) => parsed.verify_sig(signed, signature).is_ok(),
            Material::Rsa(rsa) => rsa.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok(),
        })
    }
}

// === impl Key ===

impl Key {
    fn parse(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name)) {
            return Err("it holds private or symmetric key material (the issuer must not publish that)");
        }
        if jwk.contains_key("use") && text("use") != Some("sig") {
            return Err("its `use` is not `sig`");
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err("its `key_ops` do not name `verify`"),
        }
        let bytes = |name: &str| text(name).and_then(|text| B64URL.decode(text).ok());
        let (algorithm, material) = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                let (Some(x), Some(y)) = (bytes("x"), bytes("y")) else { return Err("its `x` or `y` is malformed") };
                if x.len() != 32 || y.len() != 32 {
                    return Err("its `x` or `y` is not 32 bytes long");
                }
                let point = [&[4], x.as_slice(), &y].concat();
                (Algorithm::Es256, parsed(&ECDSA_P256_SHA256_FIXED, &point)?)
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes("x").filter(|x| x.len() == 32).ok_or("its `x` is not 32 bytes long")?;
                (Algorithm::EdDsa, parsed(&ED25519, &x)?)
            }
            (Some("RSA"), _) => {
                let (Some(n), Some(e)) = (bytes("n"), bytes("e")) else { return Err("its `n` or `e` is malformed") };
                let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
                let e: Vec<u8> = e.into_iter().skip_while(|byte| *byte == 0).collect();
                if !(256..=1024).contains(&n.len()) || n[0] < 0x80 && n.len() == 256 {
                    return Err("its modulus is not 2048 to 8192 bits long");
                }
                // At least 65537, odd, at most 32 bits.
                let exponent = e.iter().fold(0u64, |sum, byte| (sum << 8 | u64::from(*byte)) & 0xffff_ffff_ffff);
                if e.len() > 4 || exponent < 65_537 || exponent % 2 == 0 {
                    return Err("its exponent is not an odd number from 65537 up");
                }
                (Algorithm::Rs256, Material::Rsa(RsaPublicKeyComponents { n, e }))
            }
            _ => return Err("its type or curve is not one that orbitd knows (EC P-256, RSA, OKP Ed25519)"),
        };
        match jwk.get("alg") {
            None => {}
            Some(Value::String(name)) if Algorithm::named(name) == Some(algorithm) => {}
            // RFC 9864's name for the same thing.
            Some(Value::String(name)) if name == "Ed25519" && algorithm == Algorithm::EdDsa => {}
            Some(_) => return Err("its `alg` is not one that orbitd knows for its type"),
        }
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err("its `kid` is not a text"),
        };
        Ok(Self { id, algorithm, material })
    }
}

fn parsed(
    algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
    public: &[u8],
) -> Result<Material, &'static str> {
    match ParsedPublicKey::new(algorithm, public) {
        Ok(key) => Ok(Material::Parsed(Box::new(key))),
        Err(_) => Err("it is not a point on its curve"),
    }
}
