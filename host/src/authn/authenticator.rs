//! Verifies tokens and remembers the verified ones.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use quick_cache::{Weighter, sync::Cache};
use serde_json::{Map, Value};

use super::{
    jws::Jws,
    keyring::{KeySource, Keyring},
    keys::Algorithm,
};
use crate::settings::{AuthSettings, IssuerSettings};

/// Longest token that is looked at; a longer one is refused unread.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Tokens remembered, and their bytes together (the claims take a few times as much).
const REMEMBERED: usize = 10_000;
const REMEMBERED_BYTES: u64 = 16 << 20;
/// Members of an `aud` list.
const MAX_AUDIENCES: usize = 16;
/// Bytes of a `sub`.
const MAX_SUBJECT: usize = 1024;
/// 2^53: past it a JSON number is not exact.
const MAX_TIME: f64 = 9_007_199_254_740_992.0;

/// Knows the issuers and their keys. One per daemon.
pub struct Authenticator {
    issuers: Vec<Issuer>,
    verified: Cache<Box<str>, Arc<VerifiedToken>, ByBytes>,
}

/// A token that was checked in every respect.
#[derive(Debug)]
pub struct VerifiedToken {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `sub`.
    pub subject: String,
    /// All claims.
    pub claims: Map<String, Value>,
    /// `exp`, seconds since the epoch.
    pub expires_at: i64,
    /// `exp` and the leeway.
    valid_until: i64,
    issuer_index: usize,
    generation: u64,
}

/// Why the settings make no authenticator.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// An issuer's settings contradict themselves.
    #[error("auth.issuers: {issuer:?}: {reason}")]
    Settings {
        /// Which.
        issuer: String,
        /// What to change.
        reason: String,
    },
    /// A key file can't be used.
    #[error("{0}")]
    Keys(String),
    /// The client for key URLs can't be made.
    #[error("cannot make an HTTPS client for the issuers' keys: {0}")]
    Client(#[source] reqwest::Error),
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthnRefusal {
    /// It is not to be believed: 401, and the client is not told why.
    Invalid(Reason),
    /// It can't be judged, because its issuer's keys can't be had: 503.
    KeysUnavailable,
}

/// Why a token is not to be believed, for the log and the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// No compact JWS of two JSON objects without repeated names.
    Malformed,
    /// A header member that is mistyped, or an extension that is not understood.
    Header,
    /// A `typ` that the issuer's settings do not name.
    Type,
    /// An `alg` that the issuer's settings do not name.
    Algorithm,
    /// An `iss` that is missing, no text, or not in the settings.
    Issuer,
    /// No key of the issuer fits.
    Key,
    /// The signature is not the key's.
    Signature,
    /// An `aud` that is missing, mistyped, or does not hold the audience.
    Audience,
    /// A `sub` that is missing, mistyped, empty or too long.
    Subject,
    /// `exp`, `nbf` or `iat` missing where required, mistyped, or not of this time.
    Time,
    /// It is over.
    Expired,
    /// It lives longer than the settings allow.
    Lifetime,
}

struct Issuer {
    name: Arc<str>,
    settings: IssuerSettings,
    algorithms: Vec<Algorithm>,
    ring: Arc<Keyring>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<VerifiedToken>> for ByBytes {
    fn weight(&self, token: &Box<str>, _: &Arc<VerifiedToken>) -> u64 {
        token.len() as u64
    }
}

// === impl Reason ===

impl Reason {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Subject => "subject",
            Self::Time => "time",
            Self::Expired => "expired",
            Self::Lifetime => "lifetime",
        }
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Reads key files now; key URLs are asked when the first token comes. Without issuers every token is refused.
    pub fn open(settings: &AuthSettings) -> Result<Arc<Self>, AuthnError> {
        if settings.issuers.is_empty() {
            tracing::warn!("auth.issuers is empty: nobody can sign in until an issuer is added to the settings");
        }
        let mut names = HashSet::new();
        let mut issuers = Vec::new();
        for issuer in &settings.issuers {
            if !names.insert(&issuer.issuer) {
                return Err(refuse(issuer, "it is named twice"));
            }
            let opened = Issuer::new(issuer)?;
            opened.ring.load_file(unix_now()).map_err(AuthnError::Keys)?;
            issuers.push(opened);
        }
        Ok(Arc::new(Self { issuers, verified: Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, ByBytes) }))
    }

    /// The verified token. Waits only where its key is not known yet and the issuer may be asked again; then at most a few
    /// seconds. Cancel-safe.
    pub async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthnRefusal> {
        self.verify_at(token, unix_now()).await
    }

    async fn verify_at(&self, token: &str, now: i64) -> Result<Arc<VerifiedToken>, AuthnRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthnRefusal::Invalid(Reason::TooLong));
        }
        if let Some(hit) = self.verified.get(token) {
            let ring = &self.issuers[hit.issuer_index].ring;
            ring.refresh_if_due(now);
            if now < hit.valid_until && hit.generation == ring.generation() && ring.current(now).is_some() {
                return Ok(hit);
            }
            self.verified.remove(token);
        }
        let verified = Arc::new(self.verify_afresh(token, now).await?);
        self.verified.insert(token.into(), verified.clone());
        Ok(verified)
    }

    async fn verify_afresh(&self, token: &str, now: i64) -> Result<VerifiedToken, AuthnRefusal> {
        let jws = Jws::parse(token).map_err(AuthnRefusal::Invalid)?;
        let named = jws.issuer().ok_or(AuthnRefusal::Invalid(Reason::Issuer))?;
        let issuer_index = self
            .issuers
            .iter()
            .position(|issuer| *issuer.name == *named)
            .ok_or(AuthnRefusal::Invalid(Reason::Issuer))?;
        let issuer = &self.issuers[issuer_index];
        let algorithm = issuer.check_header(&jws).map_err(AuthnRefusal::Invalid)?;
        let generation = issuer.check_signature(&jws, algorithm, now).await?;
        let (subject, expires_at) = issuer.check_claims(&jws.claims, now).map_err(AuthnRefusal::Invalid)?;
        Ok(VerifiedToken {
            issuer: issuer.name.clone(),
            subject,
            claims: jws.claims,
            expires_at,
            valid_until: expires_at.saturating_add(issuer.leeway()),
            issuer_index,
            generation,
        })
    }
}

// === impl Issuer ===

impl Issuer {
    fn new(settings: &IssuerSettings) -> Result<Self, AuthnError> {
        if settings.issuer.is_empty() || settings.audience.is_empty() {
            return Err(refuse(settings, "`issuer` and `audience` must not be empty"));
        }
        if settings.algorithms.is_empty() || settings.types.is_empty() {
            return Err(refuse(settings, "`algorithms` and `types` must not be empty"));
        }
        let algorithms = settings
            .algorithms
            .iter()
            .map(|name| {
                Algorithm::named(name)
                    .ok_or_else(|| refuse(settings, &format!("algorithm {name:?} is not ES256, RS256 or EdDSA")))
            })
            .collect::<Result<_, _>>()?;
        let source = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), None) => KeySource::File(path.clone()),
            (None, Some(url)) => {
                check_url(url).map_err(|reason| refuse(settings, reason))?;
                KeySource::Url(url.clone(), KeySource::client().map_err(AuthnError::Client)?)
            }
            _ => return Err(refuse(settings, "give either `jwks_file` or `jwks_url`")),
        };
        Ok(Self {
            name: settings.issuer.as_str().into(),
            algorithms,
            ring: Arc::new(Keyring::new(settings.issuer.clone(), source)),
            settings: settings.clone(),
        })
    }

    fn leeway(&self) -> i64 {
        i64::try_from(self.settings.leeway_s).unwrap_or(i64::MAX)
    }

    fn check_header(&self, jws: &Jws<'_>) -> Result<Algorithm, Reason> {
        // Media types compare without case (RFC 7515 section 4.1.9).
        let kind = jws.kind.as_deref().unwrap_or("JWT");
        if !self.settings.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(kind)) {
            return Err(Reason::Type);
        }
        Algorithm::named(&jws.algorithm)
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(Reason::Algorithm)
    }

    /// Checks the signature; the generation of the keys that it was checked with.
    async fn check_signature(&self, jws: &Jws<'_>, algorithm: Algorithm, now: i64) -> Result<u64, AuthnRefusal> {
        self.ring.refresh_if_due(now);
        for asked in [false, true] {
            // Before the keys: a change in between makes the answer die early, never live on.
            let generation = self.ring.generation();
            match self.ring.current(now) {
                Some(keys) => match keys.verify(jws.key_id.as_deref(), algorithm, jws.signed, &jws.signature) {
                    Some(true) => return Ok(generation),
                    Some(false) => return Err(AuthnRefusal::Invalid(Reason::Signature)),
                    None if asked => return Err(AuthnRefusal::Invalid(Reason::Key)),
                    None => {}
                },
                None if asked => return Err(AuthnRefusal::KeysUnavailable),
                None => {}
            }
            // A key that is new at the issuer, or none yet.
            self.ring.load(now).await;
        }
        Err(AuthnRefusal::Invalid(Reason::Key))
    }

    /// Checks audience, subject and times; `sub` and `exp`.
    fn check_claims(&self, claims: &Map<String, Value>, now: i64) -> Result<(String, i64), Reason> {
        let audience = Value::from(self.settings.audience.as_str());
        match claims.get("aud") {
            Some(one @ Value::String(_)) if *one == audience => {}
            Some(Value::Array(list)) if list.len() <= MAX_AUDIENCES && list.contains(&audience) => {
                if !list.iter().all(Value::is_string) {
                    return Err(Reason::Audience);
                }
            }
            _ => return Err(Reason::Audience),
        }
        let subject = match claims.get("sub") {
            Some(Value::String(sub)) if !sub.is_empty() && sub.len() <= MAX_SUBJECT => sub.clone(),
            _ => return Err(Reason::Subject),
        };
        let expires_at = seconds(claims, "exp")?.ok_or(Reason::Time)?;
        let issued_at = seconds(claims, "iat")?;
        let not_before = seconds(claims, "nbf")?;
        let leeway = self.leeway();
        if expires_at.saturating_add(leeway) <= now {
            return Err(Reason::Expired);
        }
        let latest = now.saturating_add(leeway);
        if issued_at.is_some_and(|at| at > latest) || not_before.is_some_and(|at| at > latest || at > expires_at) {
            return Err(Reason::Time);
        }
        // Without `iat` its age can't be known: then what is left must not be longer than a whole life.
        let lifetime = expires_at.saturating_sub(issued_at.unwrap_or(now));
        if lifetime > i64::try_from(self.settings.max_lifetime_s).unwrap_or(i64::MAX) {
            return Err(Reason::Lifetime);
        }
        Ok((subject, expires_at))
    }
}

/// A NumericDate (RFC 7519 section 2), rounded down.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
            Some(value) if (0.0..=MAX_TIME).contains(&value) => Ok(Some(value as i64)),
            _ => Err(Reason::Time),
        },
        Some(_) => Err(Reason::Time),
    }
}

fn check_url(url: &str) -> Result<(), &'static str> {
    let parsed = reqwest::Url::parse(url).map_err(|_| "`jwks_url` is not a URL")?;
    let loopback = match parsed.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    };
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        "http" => Err("`jwks_url` may be http only on loopback: whoever can change the answer can sign in as anybody"),
        _ => Err("`jwks_url` must be https"),
    }
}

fn refuse(settings: &IssuerSettings, reason: &str) -> AuthnError {
    AuthnError::Settings { issuer: settings.issuer.clone(), reason: reason.to_owned() }
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "authenticator_tests.rs"]
mod tests;
