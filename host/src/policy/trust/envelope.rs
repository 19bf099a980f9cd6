//! A statement with its signatures, in DSSE (Dead Simple Signing Envelope, v1.0.2): what is signed are the very bytes of the
//! payload and their type, so nothing is serialised twice and no other kind of document can pass for a statement.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{PrivateKey, PublicKey, Statement};

/// Type of the payload.
const PAYLOAD_TYPE: &str = "application/vnd.orbit.policy.statement.v1+json";
/// Bytes of an envelope as text.
const MAX_BYTES: usize = 16 << 10;
/// Signatures looked at.
const MAX_SIGNATURES: usize = 8;

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    /// Base64.
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    keyid: String,
    /// Base64.
    sig: String,
}

impl Envelope {
    /// Signs a statement.
    pub fn sign(statement: &Statement, key: &PrivateKey) -> Self {
        // Plain texts and numbers: it can't fail.
        let payload = serde_json::to_vec(statement).unwrap_or_default();
        let signature = key.sign(&encode(PAYLOAD_TYPE, &payload));
        Self {
            payload_type: PAYLOAD_TYPE.into(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature { keyid: key.public().id(), sig: STANDARD.encode(signature) }],
        }
    }

    /// From its JSON text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("its signature is {} bytes long, {MAX_BYTES} are allowed", text.len()));
        }
        serde_json::from_str(text).map_err(|error| format!("its signature can't be read: {error}"))
    }

    /// The statement, and which of `keys` signed it. Nothing of it is read before a signature is good.
    pub(super) fn open<'k>(&self, keys: &'k [PublicKey]) -> Result<(Statement, &'k PublicKey), String> {
        if self.payload_type != PAYLOAD_TYPE {
            let kind: String = self.payload_type.chars().take(80).collect();
            return Err(format!("its signature is of another kind of document ({kind:?})"));
        }
        let unreadable = |_| "its signature can't be read: it is not base64".to_owned();
        let payload = STANDARD.decode(&self.payload).map_err(unreadable)?;
        let message = encode(&self.payload_type, &payload);
        for signature in self.signatures.iter().take(MAX_SIGNATURES) {
            let bytes = STANDARD.decode(&signature.sig).map_err(unreadable)?;
            // The name of the key is only a hint, and a stranger's claim: every key is tried.
            if let Some(key) = keys.iter().find(|key| key.verifies(&message, &bytes)) {
                let statement = serde_json::from_slice(&payload)
                    .map_err(|error| format!("its signed statement can't be read: {error}"))?;
                return Ok((statement, key));
            }
        }
        let named: Vec<String> =
            self.signatures.iter().take(MAX_SIGNATURES).map(|s| s.keyid.chars().take(16).collect()).collect();
        Err(format!("none of the tier's keys signed it (it names key {})", named.join(", ")))
    }
}

/// DSSE's pre-authentication encoding.
fn encode(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    #[test]
    fn the_encoding_is_dsses_own() {
        // The example of the specification.
        let message = encode("http://example.com/HelloWorld", b"hello world");
        assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn only_an_unchanged_statement_of_a_known_key_opens() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = |name: &str| PrivateKey::generate(&dir.path().join(name)).expect("made");
        let (one, two) = (key("one"), key("two"));
        let statement = Statement {
            digest: Digest::of(b"m"),
            name: "claims".into(),
            world: "authorizer".into(),
            version: 7,
            settings: None,
        };
        let envelope = Envelope::sign(&statement, &one);
        let text = serde_json::to_string(&envelope).expect("JSON");
        let read = Envelope::parse(&text).expect("its own text");
        let keys = [two.public(), one.public()];
        assert_eq!(read.open(&keys), Ok((statement.clone(), &keys[1])));
        assert!(read.open(&keys[..1]).expect_err("a stranger's").contains(&one.public().id()));
        assert!(read.open(&[]).is_err());
        let mut changed = read.clone();
        changed.payload = STANDARD.encode(serde_json::to_vec(&Statement { version: 8, ..statement }).expect("JSON"));
        assert!(changed.open(&keys).is_err(), "the statement is what is signed");
        let mut other = read;
        other.payload_type = "text/plain".into();
        assert!(other.open(&keys).expect_err("another kind").contains("another kind"));
        assert!(Envelope::parse("{}").is_err() && Envelope::parse(&" ".repeat(MAX_BYTES + 1)).is_err());
    }
}
