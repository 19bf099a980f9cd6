//! Addresses of PostgreSQL servers: they hold a password, so nothing shows them whole.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, Serializer};

/// Bytes of a file that holds an address.
const MAX_FILE: u64 = 8 << 10;
/// Servers that one address may name.
const MAX_HOSTS: usize = 8;

/// `postgres://user:password@host:port/database?sslmode=verify-full`. Shown without password and parameters, whoever shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PostgresUrl(String);

/// Where the registry is. Neither key: `<data_dir>/registry.sqlite`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// A PostgreSQL database of its own: `postgres://…`. Reached directly, not through a transaction pooler.
    pub url: Option<PostgresUrl>,
    /// A file that holds that address.
    pub url_file: Option<PathBuf>,
}

/// Why an address can't be had.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Both keys are set, or neither.
    #[error("set either {key}.url or {key}.url_file")]
    NotOne {
        /// The section.
        key: &'static str,
    },
    /// The file can't be read.
    #[error("cannot read {} ({key}.url_file): {source}", path.display())]
    Read {
        /// The section.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} ({key}.url_file) holds no address: {reason}", path.display())]
    Malformed {
        /// The section.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl RegistrySettings {
    /// The server, if the registry is on one.
    pub fn server(&self) -> Result<Option<PostgresUrl>, UrlError> {
        match (&self.url, &self.url_file) {
            (None, None) => Ok(None),
            (url, file) => either("registry", url.as_ref(), file.as_deref()).map(Some),
        }
    }
}

/// The address itself, or the one in the file.
pub(super) fn either(
    key: &'static str,
    url: Option<&PostgresUrl>,
    file: Option<&Path>,
) -> Result<PostgresUrl, UrlError> {
    match (url, file) {
        (Some(url), None) => Ok(url.clone()),
        (None, Some(path)) => {
            let failed = |source| UrlError::Read { key, path: path.to_owned(), source };
            let mut text = String::new();
            File::open(path).map_err(failed)?.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
            let url = PostgresUrl::try_from(text.trim().to_owned());
            url.map_err(|reason| UrlError::Malformed { key, path: path.to_owned(), reason })
        }
        _ => Err(UrlError::NotOne { key }),
    }
}

// === impl PostgresUrl ===

impl PostgresUrl {
    /// Whole, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// One address per server that it names, in their order, at most [`MAX_HOSTS`]: `…@a:5432,b:5433/…` or `?host=a,b&port=5432,5433`, as
    /// libpq has it. With passwords.
    pub fn hosts(&self) -> Vec<String> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", &self.0));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let many = |text: &str| text.split(',').map(str::to_owned).take(MAX_HOSTS).collect::<Vec<_>>();
        let (user, place) =
            place.rsplit_once('@').map_or((String::new(), place), |(user, at)| (format!("{user}@"), at));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let Some(listed) = parameter("host").filter(|hosts| hosts.contains(',')) else {
            let query = if query.is_empty() { String::new() } else { format!("?{query}") };
            return many(hosts).iter().map(|host| format!("{scheme}://{user}{host}/{database}{query}")).collect();
        };
        let ports = parameter("port").map(many).unwrap_or_default();
        let others: Vec<&str> =
            query.split('&').filter(|pair| !pair.starts_with("host=") && !pair.starts_with("port=")).collect();
        let others = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        let one = |(i, host): (usize, &String)| {
            let port = ports.get(i).or(ports.first()).map(|port| format!(":{port}")).unwrap_or_default();
            // A socket's directory stands there, too.
            format!("{scheme}://{user}{}{port}/{database}{others}", host.replace('/', "%2F"))
        };
        many(listed).iter().enumerate().map(one).collect()
    }

    /// For people: without password and parameters.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", &self.0));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((user, place)) => format!("{scheme}://{}@{place}", user.split(':').next().unwrap_or_default()),
            None => format!("{scheme}://{rest}"),
        }
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        // The text itself stays out of the error: it may hold a password.
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("it must be written postgres://user:password@host:port/database".to_owned());
        }
        Ok(Self(text))
    }
}

impl Serialize for PostgresUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_name_several_servers() {
        let hosts = |text: &str| PostgresUrl::try_from(text.to_owned()).expect("one").hosts();
        assert_eq!(
            hosts("postgres://u:p%40@db:5432/r?sslmode=require"),
            ["postgres://u:p%40@db:5432/r?sslmode=require"]
        );
        assert_eq!(hosts("postgres://u:p@a:1,b/r"), ["postgres://u:p@a:1/r", "postgres://u:p@b/r"]);
        assert_eq!(hosts("postgres://[::1]:1,b/r?x=y"), ["postgres://[::1]:1/r?x=y", "postgres://b/r?x=y"]);
        let listed = hosts("postgres://u:p@/r?host=a,b&port=1,2&sslmode=disable");
        assert_eq!(listed, ["postgres://u:p@a:1/r?sslmode=disable", "postgres://u:p@b:2/r?sslmode=disable"]);
        assert_eq!(hosts("postgres:///r?host=/run/pg"), ["postgres:///r?host=/run/pg"]);
        assert_eq!(hosts(&format!("postgres://{}/r", vec!["a"; 50].join(","))).len(), MAX_HOSTS);
    }

    #[test]
    fn an_address_is_never_shown_with_its_password() {
        let url =
            PostgresUrl::try_from("postgres://orbitd:hush@db:5432/registry?password=hush".to_owned()).expect("one");
        let shown = [url.shown(), format!("{url:?}"), serde_json::to_string(&url).expect("text")].join(" ");
        assert!(!shown.contains("hush") && shown.contains("orbitd@db:5432/registry"), "{shown}");
        let wrong = toml::from_str::<RegistrySettings>("url = \"mysql://hush@db\"").expect_err("another scheme");
        assert!(!wrong.message().contains("hush"), "{}", wrong.message());
        let both = RegistrySettings { url: Some(url), url_file: Some("file".into()) };
        assert!(matches!(both.server(), Err(UrlError::NotOne { key: "registry" })));
    }
}
