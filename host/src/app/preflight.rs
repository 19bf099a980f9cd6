//! What can be wrong with settings that are well-formed: found before anything is touched. Used by `serve` and `doctor`.

use std::net::SocketAddr;

use super::log::parse_filter;
use crate::settings::{IssuerSettings, ProvisionerKind, Settings, WebhookSettings};

/// Everything that is wrong: each names the key, the reason, the next step. Empty is good.
pub fn problems(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let (first, last) = settings.instances.ports;
    if first == 0 || first > last {
        found.push(format!("instances.ports = [{first}, {last}] is no range of ports; write it like [20000, 29999]"));
    }
    for (key, address) in [("proxy.listen", settings.proxy.listen), ("admin.listen", settings.admin.listen)] {
        if (first..=last).contains(&address.port()) {
            found.push(format!("{key} = {address} lies inside instances.ports = [{first}, {last}]; move one of them"));
        }
    }
    if clash(settings.proxy.listen, settings.admin.listen) {
        found.push(format!("proxy.listen and admin.listen are both {}; give one another port", settings.proxy.listen));
    }
    if !settings.internal.listen.ip().is_loopback() {
        found.push(format!("internal.listen = {} must be a loopback address (127.0.0.1:0)", settings.internal.listen));
    }
    if !matches!(settings.proxy.public_scheme.as_str(), "http" | "https") {
        found.push(format!("proxy.public_scheme = {:?} must be http or https", settings.proxy.public_scheme));
    }
    if !is_domain(&settings.proxy.base_domain) {
        found.push(format!(
            "proxy.base_domain = {:?} is no domain: lower case, labels of a-z, 0-9 and '-', no port, no trailing dot",
            settings.proxy.base_domain
        ));
    }
    let positive = [
        ("proxy.max_header_bytes", settings.proxy.max_header_bytes as u64),
        ("proxy.max_headers", settings.proxy.max_headers as u64),
        ("proxy.max_connections", settings.proxy.max_connections as u64),
        ("proxy.header_timeout_s", settings.proxy.header_timeout_s),
        ("proxy.idle_timeout_s", settings.proxy.idle_timeout_s),
        ("proxy.hold_timeout_s", settings.proxy.hold_timeout_s),
        ("instances.start_timeout_s", settings.instances.start_timeout_s),
        ("instances.stop_timeout_s", settings.instances.stop_timeout_s),
        ("instances.max_starting", settings.instances.max_starting as u64),
        ("instances.max_log_bytes", settings.instances.max_log_bytes),
    ];
    found.extend(
        positive
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{key} = 0 lets nothing work; set it to 1 or more")),
    );
    found.extend(database_problems(settings));
    found.extend(settings.auth.issuers.iter().flat_map(issuer_problems));
    found.extend(settings.alerts.webhooks.iter().filter_map(webhook_problem));
    if let Err(error) = parse_filter(&settings.log.filter) {
        found.push(error.to_string());
    }
    found
}

/// What works and is still worth a warning.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    if !settings.admin.listen.ip().is_loopback() {
        found.push(format!(
            "admin.listen = {} is reachable from other machines and speaks plain http: put it behind TLS",
            settings.admin.listen
        ));
    }
    if settings.proxy.public_scheme == "http" && !settings.proxy.listen.ip().is_loopback() {
        found.push(format!(
            "proxy.listen = {} takes tokens over plain http: put it behind TLS and set proxy.public_scheme = \"https\"",
            settings.proxy.listen
        ));
    }
    found
}

/// Where the registry, the workspaces' databases and the backups are to be.
fn database_problems(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let postgres = &settings.provisioner.postgres;
    if settings.provisioner.kind == ProvisionerKind::Postgres {
        if postgres.url.is_some() == postgres.url_file.is_some() {
            found.push(
                "provisioner.kind = \"postgres\" needs provisioner.postgres.url or .url_file (one of them)".to_owned(),
            );
        }
        if postgres.max_pool < 2 {
            found.push(format!(
                "provisioner.postgres.max_pool = {} is too small: with fewer than 2 connections a plugin can wait for itself",
                postgres.max_pool
            ));
        }
    }
    if settings.registry.url.is_some() && settings.registry.url_file.is_some() {
        found.push("registry.url and registry.url_file are both set; take one out".to_owned());
    }
    if settings.backups.directory.is_some() && settings.backups.s3.is_some() {
        found.push("backups.directory and [backups.s3] are both set; take one out".to_owned());
    }
    found
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A workspace's label of up to 40 and a dot come before it; 253 is DNS' limit.
    text.len() <= 212 && text.split('.').all(label)
}

fn issuer_problems(issuer: &IssuerSettings) -> Vec<String> {
    let name = &issuer.issuer;
    let mut found = Vec::new();
    if issuer.issuer.is_empty() || issuer.audience.is_empty() {
        found.push("auth.issuers: issuer and audience must not be empty".to_owned());
    }
    match (&issuer.jwks_file, &issuer.jwks_url) {
        (Some(_), None) => {}
        (None, Some(url)) if url.starts_with("https://") || is_loopback_http(url) => {}
        (None, Some(url)) => {
            found.push(format!("auth.issuers {name:?}: jwks_url = {url:?} must be https (http only on loopback)"))
        }
        _ => found.push(format!("auth.issuers {name:?} needs either jwks_file or jwks_url")),
    }
    let unknown = issuer.algorithms.iter().filter(|name| !matches!(name.as_str(), "ES256" | "RS256" | "EdDSA"));
    found.extend(
        unknown.map(|alg| format!("auth.issuers {name:?}: algorithm {alg:?} is not one of ES256, RS256, EdDSA")),
    );
    if issuer.algorithms.is_empty() {
        found.push(format!("auth.issuers {name:?}: algorithms is empty, so no token is believed; leave the key out"));
    }
    found
}

/// Its URL is often its secret: it is not repeated.
fn webhook_problem(webhook: &WebhookSettings) -> Option<String> {
    let good = webhook.url.starts_with("https://") || is_loopback_http(&webhook.url);
    (!good).then(|| "alerts.webhooks: a url must be https (http only on loopback)".to_owned())
}

fn is_loopback_http(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("http") && matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(problems(&Settings::default()), Vec::<String>::new());
    }

    /// A mistake, and the key that its text must name.
    type Mistake = (&'static str, fn(&mut Settings));

    #[test]
    fn each_mistake_is_named_by_its_key() {
        let mistakes: [Mistake; 9] = [
            ("instances.ports", |s| s.instances.ports = (9, 8)),
            ("admin.listen", |s| s.admin.listen = s.proxy.listen),
            ("internal.listen", |s| s.internal.listen = "0.0.0.0:1".parse().expect("an address")),
            ("proxy.public_scheme", |s| s.proxy.public_scheme = "ftp".into()),
            ("proxy.base_domain", |s| s.proxy.base_domain = "Example.com:80".into()),
            ("proxy.max_headers", |s| s.proxy.max_headers = 0),
            ("provisioner.postgres.url", |s| s.provisioner.kind = ProvisionerKind::Postgres),
            ("alerts.webhooks", |s| {
                s.alerts.webhooks = vec![toml::from_str("url = \"http://hooks.example/secret\"").expect("settings")];
            }),
            ("log.filter", |s| s.log.filter = "orbitd=loud".into()),
        ];
        for (key, mistake) in mistakes {
            let mut settings = Settings::default();
            mistake(&mut settings);
            let found = problems(&settings);
            assert!(found.len() == 1 && found[0].contains(key), "{key}: {found:?}");
        }
    }

    #[test]
    fn a_key_set_must_come_over_a_safe_way() {
        for (url, good) in [
            ("https://issuer.example/jwks", true),
            ("http://127.0.0.1:9/jwks", true),
            ("http://localhost/jwks", true),
            ("http://issuer.example/jwks", false),
            ("http://127.0.0.1.evil.example/jwks", false),
            ("file:///jwks", false),
        ] {
            let issuer: IssuerSettings =
                toml::from_str(&format!("issuer = \"i\"\naudience = \"a\"\njwks_url = \"{url}\"")).expect("settings");
            assert_eq!(issuer_problems(&issuer).is_empty(), good, "{url}");
        }
    }
}
