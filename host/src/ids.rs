//! Names and identifiers. Every one is a newtype that can only be made from valid text, so no other module checks twice.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl InvalidId {
    fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        // Hostile input may be long: an error line is not.
        let text = text.chars().take(64).collect();
        Self { what, rule, text }
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($what, $rule, text)) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && text.len() <= 40
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name_type!(
    /// A workspace's name: `[a-z][a-z0-9-]{0,39}`. It is the first label of the workspace's host name.
    Slug,
    "workspace slug",
    "it must start with a-z and hold at most 40 of a-z, 0-9 and '-'",
    is_label
);
name_type!(
    /// A tier's name, the stem of `policies/<tier>.toml`; same rule as a [`Slug`].
    TierName,
    "tier name",
    "it must start with a-z and hold at most 40 of a-z, 0-9 and '-'",
    is_label
);
name_type!(
    /// A Backstage plugin's id, as in `/api/<plugin>`; same rule as a [`Slug`].
    PluginId,
    "plugin id",
    "it must start with a-z and hold at most 40 of a-z, 0-9 and '-'",
    is_label
);

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new UUIDv7: unique, and ordered by creation time.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_type!(
    /// One life of a workspace: deleted and created again under the same slug, it has another id.
    WorkspaceId
);
uuid_type!(
    /// One started Backstage process. Also its *boot id*: an instance that restarts is another instance.
    InstanceId
);

impl InstanceId {
    /// A new one that is larger than `floor`: which of two instances is the newer one is read off their ids, also where the machine's
    /// clock was set back between them.
    pub fn generate_after(floor: Option<Self>) -> Self {
        let id = Self::generate();
        let Some(floor) = floor.filter(|floor| id <= *floor) else { return id };
        // RFC 9562, 5.7: 48 bits of milliseconds come first, what makes it unique after them.
        let millis = (floor.0.as_u128() >> 80) as u64;
        let mut unique = [0; 10];
        unique.copy_from_slice(&id.0.as_bytes()[6..]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis + 1, &unique).into_uuid())
    }
}

uuid_type!(
    /// One backup of a workspace. Ordered by time, as the others are.
    BackupId
);

/// A SHA-256, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut raw = [0; 32];
        raw.copy_from_slice(digest.as_ref());
        Self(raw)
    }
    /// A digest that was made piece by piece; `None` if these are not 32 bytes.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        raw.try_into().ok().map(Self)
    }
    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// The first 12 hex digits: enough for a person to tell two apart.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}
impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("digest", "it is written sha256:<64 hex digits>", text);
        let mut raw = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        hex::decode_to_slice(digits, &mut raw).map_err(|_| invalid())?;
        Ok(Self(raw))
    }
}
impl TryFrom<String> for Digest {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_instance_has_a_larger_id_whatever_the_clock_says() {
        let ahead = Uuid::from_u128((Uuid::now_v7().as_u128() >> 80).saturating_add(10_u128.pow(11)) << 80);
        let mut last = InstanceId(ahead);
        for _ in 0..1000 {
            let next = InstanceId::generate_after(Some(last));
            assert!(next > last && next.0.get_version_num() == 7);
            last = next;
        }
        let now = InstanceId::generate();
        assert!(InstanceId::generate_after(None) > now && InstanceId::generate_after(Some(now)) > now);
    }

    #[test]
    fn a_slug_is_a_dns_label_that_starts_with_a_letter() {
        for good in ["a", "acme", "a-1", "team-42"] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "1a", "-a", "A", "a_b", "a.b", "a b", "ä", "a\0", long.as_str()] {
            assert!(bad.parse::<Slug>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_reads_back_what_it_wrote() {
        let digest = Digest::of(b"orbit");
        assert_eq!(digest.to_string().parse::<Digest>().expect("its own text"), digest);
        assert!("sha256:zz".parse::<Digest>().is_err());
    }
}
