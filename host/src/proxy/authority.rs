//! Which workspace a request is for, from its `Host`. One canonical reading, used by routing, by the `Origin` check and by
//! what the instance is told.

use std::borrow::Cow;

use http::HeaderValue;

use crate::ids::Slug;

/// A host and port in canonical form: lower case, no user info, no trailing dot, no odd port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Host name, or an IPv6 literal with its brackets.
    pub name: Cow<'a, str>,
    /// Port, where one is written.
    pub port: Option<u16>,
}

/// What the front serves: `*.<base domain>`.
pub(super) struct Site {
    base_domain: String,
    /// `.localhost`
    suffix: String,
    /// `:7080`; empty where it is the scheme's own.
    port: String,
    https: bool,
}

/// Where a request's host points.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// `<slug>.<base domain>`; the slug is well formed, whether there is such a workspace is another question.
    Workspace(&'a str),
    /// The bare base domain.
    Base,
    /// Nothing of ours.
    Elsewhere,
}

// === impl Authority ===

impl<'a> Authority<'a> {
    /// Reads `host[:port]`; `None` if it is anything else. Names hold a-z, 0-9, '-' and '.': no underscore, no percent sign,
    /// no comma, no user info, nothing outside ASCII. An empty label (`a..b`, a trailing dot) is refused too.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.find(']')) {
            // The length of what is inside, and two brackets.
            Some(inside) => match text.split_at(inside + 2) {
                (name, "") => (name, None),
                (name, rest) => (name, Some(rest.strip_prefix(':')?)),
            },
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => None,
            Some(port) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') => {
                Some(port.parse().ok()?)
            }
            Some(_) => return None,
        };
        let valid = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(name),
        };
        if !valid {
            return None;
        }
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Some(Self { name, port })
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

// === impl Site ===

impl Site {
    /// `port` is the one that browsers use.
    pub fn new(base_domain: &str, https: bool, port: u16) -> Self {
        let base_domain = base_domain.trim_matches('.').to_ascii_lowercase();
        let port = if port == Self::default_port(https) { String::new() } else { format!(":{port}") };
        Self { suffix: format!(".{base_domain}"), base_domain, port, https }
    }

    fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }

    /// Whether browsers come by TLS.
    pub fn https(&self) -> bool {
        self.https
    }

    /// Where this host points.
    pub fn place<'h>(&self, host: &'h Authority<'_>) -> Place<'h> {
        if *host.name == *self.base_domain {
            return Place::Base;
        }
        match host.name.strip_suffix(&*self.suffix) {
            Some(label) if label.parse_slug() => Place::Workspace(label),
            _ => Place::Elsewhere,
        }
    }

    /// The `Host` that an instance is told: always the workspace's own public one, never what a client made up.
    /// `received` is used again where it says just that (no allocation then).
    pub fn public_host(&self, slug: &Slug, received: Option<&HeaderValue>) -> Option<HeaderValue> {
        let (slug, name_end) = (slug.as_str(), slug.as_str().len() + self.suffix.len());
        if let Some(value) = received {
            let bytes = value.as_bytes();
            if bytes.len() == name_end + self.port.len()
                && bytes.starts_with(slug.as_bytes())
                && bytes[slug.len()..name_end] == *self.suffix.as_bytes()
                && bytes[name_end..] == *self.port.as_bytes()
            {
                return Some(value.clone());
            }
        }
        HeaderValue::try_from(format!("{slug}{}{}", self.suffix, self.port)).ok()
    }

    /// Whether an `Origin` is the same host and port as the request's own. The scheme is not compared: a TLS front in
    /// between may hide it, and the port tells the two apart where there is none.
    pub fn same_origin(&self, origin: &HeaderValue, host: &Authority<'_>) -> bool {
        let Some((scheme, authority)) = origin.to_str().ok().and_then(|text| text.split_once("://")) else {
            return false;
        };
        let Some(from) = Authority::parse(authority.as_bytes()) else { return false };
        let from_port = match scheme {
            "http" => from.port.unwrap_or(80),
            "https" => from.port.unwrap_or(443),
            _ => return false,
        };
        from.name == host.name && from_port == host.port.unwrap_or_else(|| Self::default_port(scheme == "https"))
    }
}

trait SlugText {
    fn parse_slug(&self) -> bool;
}
impl SlugText for str {
    /// The rule of [`Slug`], without making one.
    fn parse_slug(&self) -> bool {
        let mut bytes = self.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && self.len() <= 40
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_hosts_are_no_authority() {
        let long_label = "a".repeat(64);
        for bad in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:080",
            "a:99999",
            "a:8o",
            "a,b",
            "u@a",
            "a/b",
            "a b",
            "a..b",
            ".a",
            "a.",
            "a_b",
            "a%2eb",
            "a\\b",
            "[::1",
            "[::1]x",
            "[::1%eth0]",
            "[a]",
            "::1",
            "a:1:2",
            "ä",
            "a\u{ad}b",
            &long_label,
        ] {
            assert_eq!(Authority::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Authority::parse(b"a\xff"), None);
        let parsed = Authority::parse(b"AcMe.LocalHost:7080").expect("good");
        assert_eq!((&*parsed.name, parsed.port), ("acme.localhost", Some(7080)));
        assert!(Authority::parse(b"[::1]:7080").is_some());
    }

    #[test]
    fn a_host_points_to_one_place() {
        let site = Site::new("Apps.Example", false, 7080);
        let place = |host: &'static str| {
            let authority = Authority::parse(host.as_bytes()).expect(host);
            match site.place(&authority) {
                Place::Workspace(slug) => format!("workspace {slug}"),
                Place::Base => "base".into(),
                Place::Elsewhere => "elsewhere".into(),
            }
        };
        assert_eq!(place("acme.apps.example"), "workspace acme");
        assert_eq!(place("ACME.apps.example:9"), "workspace acme");
        assert_eq!(place("apps.example"), "base");
        for other in
            ["a.b.apps.example", "1a.apps.example", "acme.apps.example.evil", "xapps.example", "127.0.0.1", "[::1]"]
        {
            assert_eq!(place(other), "elsewhere", "{other}");
        }
    }

    #[test]
    fn an_instance_is_told_its_own_host_only() {
        let (site, acme) = (Site::new("localhost", false, 7080), "acme".parse().expect("a slug"));
        let public = |received: &'static str| {
            let host = site.public_host(&acme, Some(&HeaderValue::from_static(received))).expect("a value");
            host.to_str().expect("text").to_owned()
        };
        for received in
            ["acme.localhost:7080", "ACME.localhost", "localhost", "acme.localhost:1", "evil.localhost:7080"]
        {
            assert_eq!(public(received), "acme.localhost:7080");
        }
        assert_eq!(Site::new("x.org", true, 443).public_host(&acme, None).expect("a value"), "acme.x.org");
    }

    #[test]
    fn a_sibling_is_a_foreign_origin() {
        let site = Site::new("localhost", false, 7080);
        let host = Authority::parse(b"acme.localhost:7080").expect("good");
        let same = |origin: &'static str| site.same_origin(&HeaderValue::from_static(origin), &host);
        assert!(same("http://acme.localhost:7080"));
        for foreign in [
            "http://globex.localhost:7080",
            "http://acme.localhost",
            "null",
            "",
            "http://acme.localhost:7080/",
            "file://acme.localhost:7080",
        ] {
            assert!(!same(foreign), "{foreign}");
        }
    }

    proptest! {
        /// Reading what was read changes nothing, and nothing odd survives.
        #[test]
        fn canonical_is_canonical(text in "[a-zA-Z0-9.:@,_\\[\\]%/-]{0,40}") {
            if let Some(authority) = Authority::parse(text.as_bytes()) {
                let written = match authority.port {
                    Some(port) => format!("{}:{port}", authority.name),
                    None => authority.name.to_string(),
                };
                prop_assert_eq!(Authority::parse(written.as_bytes()), Some(authority.clone()));
                prop_assert_eq!(written.to_ascii_lowercase(), text.to_ascii_lowercase());
            }
        }

        #[test]
        fn slugs_here_are_slugs_there(text in "[a-zA-Z0-9_-]{0,42}") {
            prop_assert_eq!(text.parse_slug(), text.parse::<Slug>().is_ok());
        }
    }
}
