//! `oci://registry[:port]/repository:tag` or `…@sha256:<digest of the manifest>`.

use std::{fmt, net::IpAddr, str::FromStr};

use oci_client::Reference;

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no module in a registry: {rule} (oci://registry.example.org/team/policy:1.2 or …@sha256:<digest>)"
)]
pub struct ReferenceError {
    text: String,
    rule: &'static str,
}

/// A place in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    text: String,
    inner: Reference,
}

impl OciReference {
    /// How such a reference begins.
    pub const SCHEME: &str = "oci://";

    /// As oci-client takes it.
    pub(super) fn inner(&self) -> &Reference {
        &self.inner
    }

    /// `team/policy:1.2`, or with `@sha256:…`: what is named there.
    pub fn place(&self) -> &str {
        self.text.get(Self::SCHEME.len() + self.registry().len() + 1..).unwrap_or(&self.text)
    }

    /// `team/policy`.
    pub fn repository(&self) -> &str {
        self.inner.repository()
    }

    /// `registry.example.org:5000`.
    pub fn registry(&self) -> &str {
        self.inner.registry()
    }

    /// Digest of the manifest that it is pinned to: what it names never changes.
    pub fn pinned(&self) -> Option<&str> {
        self.inner.digest()
    }

    /// The same place, pinned to a manifest.
    pub fn pin(&self, manifest: &str) -> String {
        format!("{}{}/{}@{manifest}", Self::SCHEME, self.registry(), self.inner.repository())
    }

    /// Whether the registry is this machine: only there plain http is spoken.
    pub fn is_loopback(&self) -> bool {
        let registry = self.registry();
        let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for OciReference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // A name and password before the registry would be shown wherever the reference is.
        let (shown, with_user) = match text.rsplit_once('@') {
            Some((_, digest)) if digest.contains(':') && !digest.contains('/') => (text.to_owned(), false),
            Some((_, rest)) => (format!("{}…@{rest}", Self::SCHEME), true),
            None => (text.to_owned(), false),
        };
        let refused = |rule| ReferenceError { text: shown.chars().take(200).collect(), rule };
        let rest = text.strip_prefix(Self::SCHEME).ok_or(refused("it begins with oci://"))?;
        if with_user {
            return Err(refused("it holds no user or password: accounts are in the settings or in flags"));
        }
        // A bare name means a public registry elsewhere; here nothing is fetched from a place that nobody wrote down.
        let host = rest.split_once('/').map_or("", |(host, _)| host);
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(refused("it names its registry"));
        }
        let after = rest.get(host.len()..).unwrap_or_default();
        if !after.contains([':', '@']) {
            return Err(refused("it names a tag or a digest"));
        }
        let inner = rest.parse().map_err(|_| refused("registry, repository, tag and digest are written as usual"))?;
        Ok(Self { text: text.to_owned(), inner })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_registry_and_version() {
        let parse = |text: &str| text.parse::<OciReference>();
        let tagged = parse("oci://registry.example.org/team/claims:1.2").expect("good");
        assert_eq!((tagged.registry(), tagged.pinned(), tagged.is_loopback()), ("registry.example.org", None, false));
        let digest = format!("sha256:{}", "0".repeat(64));
        let pinned = parse(&format!("oci://127.0.0.1:5000/claims@{digest}")).expect("good");
        assert_eq!((pinned.pinned(), pinned.is_loopback()), (Some(digest.as_str()), true));
        assert_eq!((tagged.place(), tagged.repository()), ("team/claims:1.2", "team/claims"));
        for with_user in ["oci://me:pw@r.example.org/a:b", "oci://me:p/w@r.example.org:5000/a:b"] {
            let error = parse(with_user).expect_err("refused").to_string();
            assert!(error.contains("no user or password") && error.contains("r.example.org"), "{error}");
            assert!(!error.contains("pw") && !error.contains("p/w"), "{error}");
        }
        assert!(parse("oci://localhost:5000/a:b").expect("good").is_loopback());
        assert!(!parse("oci://localhost.example.org/a:b").expect("good").is_loopback());
        for bad in ["claims.wasm", "oci://", "oci://claims:1", "oci://example.org/claims", "oci://example.org/a b:1"] {
            let error = parse(bad).expect_err("refused").to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
