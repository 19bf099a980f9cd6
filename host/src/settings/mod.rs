//! `orbitd.toml`: every key optional, an unknown key is an error that names it. Environment (`ORBITD__PROXY__LISTEN=…`)
//! over file, flags over environment. Plain data: nothing here opens or makes anything.

mod alerts;
mod backups;
mod confine;
mod decision_log;
mod load;
mod memory;
mod oci;
mod postgres;
mod provisioner;

pub use alerts::{AlertSettings, WebhookFormat, WebhookSettings};
pub use backups::{BackupSettings, S3Settings};
pub use confine::{ConfineMode, ConfineSettings};
pub use decision_log::DecisionLogSettings;
pub use load::{SettingsError, load};
pub use memory::MemorySettings;
pub use oci::{OciAccount, OciSettings, PasswordPlace, RegistryName};
pub use postgres::{PostgresUrl, RegistrySettings, UrlError};
pub use provisioner::{PostgresSettings, ProvisionerKind, ProvisionerSettings};

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Registry, keys, instances' directories, logs. Made 0700 if missing; one daemon at a time.
    pub data_dir: PathBuf,
    /// Folder of `<tier>.toml` and policy modules.
    pub policies_dir: PathBuf,
    /// An installed distribution: the folder that holds `distribution.json`.
    pub distribution: PathBuf,
    /// `<dir>/<slug>/<name>`: values of secrets that a workspace's config refers to.
    pub secrets_dir: PathBuf,
    /// Where workspaces are written down.
    pub registry: RegistrySettings,
    /// Where users come in.
    pub proxy: ProxySettings,
    /// Where operators come in.
    pub admin: AdminSettings,
    /// Where instances ask orbitd (keys, user info). Port 0: chosen once, kept in the data directory.
    pub internal: InternalSettings,
    /// Whose tokens are believed.
    pub auth: AuthSettings,
    /// Registries that policies come from.
    pub oci: OciSettings,
    /// Where workspaces' desired config comes from.
    pub source: SourceSettings,
    /// How instances run.
    pub instances: InstanceSettings,
    /// When memory is short.
    pub memory: MemorySettings,
    /// How instances are kept apart.
    pub confine: ConfineSettings,
    /// How their databases are made.
    pub provisioner: ProvisionerSettings,
    /// Who is told when something is wrong.
    pub alerts: AlertSettings,
    /// Where backups of workspaces go.
    pub backups: BackupSettings,
    /// What orbitd says of itself.
    pub log: LogSettings,
    /// Which decisions of policies are written down.
    pub decision_log: DecisionLogSettings,
}

/// Where users come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// A workspace is at `<slug>.<base_domain>`.
    pub base_domain: String,
    /// What browsers type before the host: `http` here, `https` behind a TLS front.
    pub public_scheme: String,
    /// The port browsers use; without it the port of `listen`.
    pub public_port: Option<u16>,
    /// All request header bytes together; past it 431.
    pub max_header_bytes: usize,
    /// Request header fields; past it 431.
    pub max_headers: usize,
    /// Bytes of a request's body; past it 413. 0 is no limit.
    pub max_body_bytes: u64,
    /// Open client connections; past it new ones wait in the kernel's accept queue.
    pub max_connections: usize,
    /// Seconds a client has to send a complete request head.
    pub header_timeout_s: u64,
    /// Seconds a body, a response or a WebSocket may be silent.
    pub idle_timeout_s: u64,
    /// Seconds a request waits for its workspace to start or restart before 503.
    pub hold_timeout_s: u64,
    /// Requests that may wait for one workspace; past it 503 at once.
    pub max_held: usize,
}

/// Where operators come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Names (without port) that requests may use for the admin API, besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
}

/// Where instances ask orbitd.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalSettings {
    /// Loopback address; port 0 is chosen once and kept, because running instances hold it in their config.
    pub listen: SocketAddr,
}

/// Whose tokens are believed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Trusted token issuers, by `iss`.
    pub issuers: Vec<IssuerSettings>,
}

/// One trusted issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// The exact `iss` string.
    pub issuer: String,
    /// The exact string that must be (in) `aud`.
    pub audience: String,
    /// A JWKS file; this or `jwks_url`.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// A JWKS URL; http only on loopback.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Accepted signature algorithms, of ES256, RS256, EdDSA.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<String>,
    /// Accepted `typ` headers; a token without one is `JWT`.
    #[serde(default = "access_token_types")]
    pub types: Vec<String>,
    /// Seconds of clock difference forgiven.
    #[serde(default = "leeway")]
    pub leeway_s: u64,
    /// Longest `exp - iat` accepted, seconds.
    #[serde(default = "max_lifetime")]
    pub max_lifetime_s: u64,
}

/// Where desired config comes from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// A directory of `workspaces/<slug>/workspace.toml`.
    pub directory: Option<DirectorySourceSettings>,
}

/// The directory source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySourceSettings {
    /// The folder that holds `workspaces/`.
    pub path: PathBuf,
    /// Seconds between full reads; a change is seen at once through the file watch, this catches what the watch missed.
    #[serde(default = "poll_interval")]
    pub poll_s: u64,
    /// What happens to a workspace whose folder is gone.
    #[serde(default)]
    pub on_removed: OnRemoved,
}

/// What happens to a workspace that its source no longer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRemoved {
    /// It is stopped, its data is kept, and an event says so: a folder can vanish by accident.
    #[default]
    Stop,
    /// It is deleted, its data with it.
    Delete,
}

/// How instances run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceSettings {
    /// First and last port of instances, both included.
    pub ports: (u16, u16),
    /// Seconds from start to ready before the start counts as failed.
    pub start_timeout_s: u64,
    /// Seconds from SIGTERM to SIGKILL.
    pub stop_timeout_s: u64,
    /// Seconds that requests under way may take to finish before a restart ends them; a tier's `rollout.drain_s` goes before it.
    pub drain_timeout_s: u64,
    /// Instances that start at the same time; the others wait their turn.
    pub max_starting: usize,
    /// Processes that wait with Backstage started once already, so that a start takes a quarter: at least so many (about 310 MiB each).
    pub warm_min: usize,
    /// At most so many, learned from how many were started in a minute. 0 with `warm_min` 0: none.
    pub warm_max: usize,
    /// Workspaces that are rolled out at the same time, each from the start of its new instance to the end of its old one; the
    /// others wait in order. A tier's `rollout.max_concurrent` may allow fewer.
    pub max_rollouts: usize,
    /// Bytes after which an instance's log is rotated (one old file is kept).
    pub max_log_bytes: u64,
    /// Node binary; without it the one that the distribution names.
    pub node: Option<PathBuf>,
}

/// What orbitd says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A tracing filter: `info`, `orbitd=debug`…
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

// === defaults ===

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}
fn all_algorithms() -> Vec<String> {
    ["ES256", "RS256", "EdDSA"].map(String::from).into()
}
fn access_token_types() -> Vec<String> {
    // RFC 9068 (`at+jwt`), and the many issuers that say `JWT` or nothing.
    ["JWT", "at+jwt"].map(String::from).into()
}
fn leeway() -> u64 {
    30
}
fn max_lifetime() -> u64 {
    86_400 * 7
}
fn poll_interval() -> u64 {
    30
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "orbitd-data".into(),
            policies_dir: "policies".into(),
            distribution: "distribution".into(),
            secrets_dir: "secrets".into(),
            registry: RegistrySettings::default(),
            proxy: ProxySettings::default(),
            admin: AdminSettings::default(),
            internal: InternalSettings::default(),
            auth: AuthSettings::default(),
            oci: OciSettings::default(),
            source: SourceSettings::default(),
            instances: InstanceSettings::default(),
            memory: MemorySettings::default(),
            confine: ConfineSettings::default(),
            provisioner: ProvisionerSettings::default(),
            alerts: AlertSettings::default(),
            backups: BackupSettings::default(),
            log: LogSettings::default(),
            decision_log: DecisionLogSettings::default(),
        }
    }
}
impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            listen: loopback(7080),
            base_domain: "localhost".into(),
            public_scheme: "http".into(),
            public_port: None,
            max_header_bytes: 32 << 10,
            max_headers: 100,
            max_body_bytes: 1 << 30,
            max_connections: 10_000,
            header_timeout_s: 30,
            idle_timeout_s: 300,
            hold_timeout_s: 120,
            max_held: 1_000,
        }
    }
}
impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: loopback(7081), hosts: Vec::new() }
    }
}
impl Default for InternalSettings {
    fn default() -> Self {
        Self { listen: loopback(0) }
    }
}
impl Default for InstanceSettings {
    fn default() -> Self {
        Self {
            ports: (20_000, 29_999),
            start_timeout_s: 120,
            stop_timeout_s: 20,
            drain_timeout_s: 30,
            max_starting: 2,
            warm_min: 0,
            warm_max: 0,
            max_rollouts: 8,
            max_log_bytes: 16 << 20,
            node: None,
        }
    }
}
impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".into(), json: false }
    }
}

impl ProxySettings {
    /// `http://acme.localhost:7080`; without the port where it is the scheme's own. `port` is the port really bound.
    pub fn public_url(&self, slug: &crate::ids::Slug, port: u16) -> String {
        let port = self.public_port.unwrap_or(port);
        let host = format!("{slug}.{}", self.base_domain);
        match (self.public_scheme.as_str(), port) {
            ("http", 80) | ("https", 443) => format!("{}://{host}", self.public_scheme),
            (scheme, port) => format!("{scheme}://{host}:{port}"),
        }
    }
}
