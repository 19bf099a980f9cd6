//! `[trust]` of a tier's file: who may sign its policies.

use serde::{Deserialize, Serialize};

use super::{Claim, Envelope, PublicKey, Statement};

/// Keys that one tier may trust.
const MAX_KEYS: usize = 16;

/// Whom a tier believes. Without the section: everybody who can write the policies folder or the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Each may sign any policy of the tier.
    keys: Vec<PublicKey>,
    /// A module without a signature is refused. True where the section says nothing; false accepts unsigned modules, but never
    /// one whose signature is bad.
    #[serde(default = "yes")]
    required: bool,
}

/// What a good signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its content.
    pub statement: Statement,
    /// Id of the key that signed.
    pub key: String,
}

/// A signature as `orbitd policy status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// Id of the key.
    pub key: String,
    /// The signed version.
    pub version: u64,
    /// Whether it is over the settings, too.
    pub settings: bool,
}

fn yes() -> bool {
    true
}

impl Trust {
    /// Whether the section makes sense; the error is for the operator.
    pub fn validate(&self) -> Result<(), String> {
        match self.keys.len() {
            0 => {
                Err("[trust] has no keys: add one that `orbitd policy keygen` printed, or leave the section out"
                    .to_owned())
            }
            n if n > MAX_KEYS => Err(format!("[trust] has {n} keys, {MAX_KEYS} are allowed")),
            _ => Ok(()),
        }
    }

    /// What the module's signature says; none where it has none and needs none. Before anything of the module runs.
    pub fn check(&self, claim: &Claim<'_>, signature: Option<&str>) -> Result<Option<Verified>, String> {
        let Some(text) = signature else {
            if claim.settings_signed {
                return Err("it is not signed, and the binding requires it with its settings (signed_settings): \
                            `orbitd policy sign` it"
                    .to_owned());
            }
            if self.required {
                return Err("it is not signed, and the tier requires it ([trust]): `orbitd policy sign` it".to_owned());
            }
            return Ok(None);
        };
        let envelope = Envelope::parse(text)?;
        let (statement, key) = envelope.open(&self.keys)?;
        statement.check(claim)?;
        Ok(Some(Verified { statement, key: key.id() }))
    }
}

impl From<&Verified> for Signed {
    fn from(verified: &Verified) -> Self {
        let Statement { version, settings, .. } = &verified.statement;
        Self { key: verified.key.clone(), version: *version, settings: settings.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use orbit_engine::World;

    use super::{
        super::{PrivateKey, settings_digest},
        *,
    };
    use crate::ids::Digest;

    #[test]
    fn a_tier_takes_what_its_keys_signed_for_this_role() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = PrivateKey::generate(&dir.path().join("key")).expect("made");
        let trust = |required| Trust { keys: vec![key.public()], required };
        let digest = Digest::of(b"module");
        let signed = |digest, world: &str| {
            let statement =
                Statement { digest, name: "claims".into(), world: world.into(), version: 3, settings: None };
            serde_json::to_string(&Envelope::sign(&statement, &key)).expect("JSON")
        };
        let good = signed(digest, "authorizer");
        let claim = Claim { world: World::Authorizer, digest, settings: "{}", settings_signed: false };
        let check = |required, signature: Option<&str>| trust(required).check(&claim, signature);
        assert_eq!(check(true, Some(&good)).expect("good").map(|verified| verified.statement.version), Some(3));
        assert!(check(true, None).expect_err("unsigned").contains("not signed"));
        assert_eq!(check(false, None), Ok(None));
        let other = signed(Digest::of(b"another"), "authorizer");
        assert!(check(false, Some(&other)).expect_err("another module's").contains("another module"));
        assert!(check(false, Some(&signed(digest, "router"))).expect_err("another role's").contains("router"));
        assert!(check(false, Some("{}")).is_err(), "a bad signature is worse than none");

        let with = |settings: &str| {
            let settings = Some(settings_digest(settings));
            let statement =
                Statement { digest, name: "claims".into(), world: "authorizer".into(), version: 3, settings };
            serde_json::to_string(&Envelope::sign(&statement, &key)).expect("JSON")
        };
        let signed = with(r#"{"b": {"d": 1, "c": [2]}, "a": "x"}"#);
        let given = |settings, signature: Option<&str>| {
            trust(true).check(&Claim { settings, settings_signed: true, ..claim }, signature).map(|_| ())
        };
        assert_eq!(given(r#"{"a":"x","b":{"c":[2],"d":1}}"#, Some(&signed)), Ok(()), "their order means nothing");
        assert!(
            given(r#"{"a":"y","b":{"c":[2],"d":1}}"#, Some(&signed)).expect_err("swapped").contains("other settings")
        );
        assert!(given("{}", Some(&good)).expect_err("the module's alone").contains("must be signed, too"));
        assert!(given("{}", None).expect_err("none at all").contains("not signed"));
        assert!(check(false, Some(&signed)).expect_err("said is said").contains("other settings"));
        let empty: Result<Trust, _> = toml::from_str("keys = []");
        assert!(empty.expect("read").validate().expect_err("no keys").contains("no keys"));
    }
}
