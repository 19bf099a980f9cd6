//! Where the daemon is, and with which token: flags over environment over settings.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Global, client::Client, failure::Failure};
use crate::settings::{self, Settings};

/// The settings file that is used when none is named.
const DEFAULT_FILE: &str = "orbitd.toml";
/// A token file that is longer is no token file.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// How to reach the daemon.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The admin API [default: admin.listen of the settings]
    #[arg(long, global = true, env = "ORBITD_ADMIN_URL", value_name = "URL")]
    admin: Option<String>,
    /// File with the admin token [default: <data_dir>/admin.token]
    #[arg(long, global = true, env = "ORBITD_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl Connection {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// The settings can't be used, or the URL is none. A missing token is told by the first call.
    pub fn open(&self, global: &Global) -> Result<Client, Failure> {
        let (url, token_file) = match (&self.admin, &self.admin_token_file) {
            // Nothing of the settings is needed, so nothing there may stand in the way.
            (Some(url), Some(file)) => (url.clone(), file.clone()),
            _ => {
                let settings = load_settings(global)?;
                self.resolve(&settings)
            }
        };
        Client::new(&url, read_token(&token_file))
    }

    /// URL and token file, where the settings fill what neither flag nor environment says.
    pub fn resolve(&self, settings: &Settings) -> (String, PathBuf) {
        let url = self.admin.clone().unwrap_or_else(|| format!("http://{}", local(settings.admin.listen)));
        let file = self.admin_token_file.clone().unwrap_or_else(|| settings.data_dir.join("admin.token"));
        (url, file)
    }
}

/// The settings file to use: the named one, or `./orbitd.toml` if it is there.
pub fn settings_file(global: &Global) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_FILE);
    global.config.clone().or_else(|| default.exists().then(|| default.to_owned()))
}

/// The settings of this machine.
pub fn load_settings(global: &Global) -> Result<Settings, Failure> {
    settings::load(settings_file(global).as_deref(), environment()).map_err(|error| Failure::usage(error.to_string()))
}

/// Variables that are not text can't be settings of ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A daemon that listens everywhere is reached through loopback.
pub fn local(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// The text of a token file.
pub fn read_token(file: &Path) -> Result<String, String> {
    let refused = |why: String| {
        format!(
            "cannot use the admin token file {}: {why}. The daemon makes it at its first start: start it (`orbitd serve`), \
             or name the file with --admin-token-file, or the daemon's settings with --config",
            file.display()
        )
    };
    let length = fs::metadata(file).map_err(|error| refused(error.to_string()))?.len();
    if length > MAX_TOKEN_BYTES {
        return Err(refused(format!("{length} bytes are too many for a token")));
    }
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("it is empty".into())),
        token => Ok(token.to_owned()),
    }
}
