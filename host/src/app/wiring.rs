//! The calls into the other parts, one small function each, so that `serve` reads as the start order. Nothing here decides
//! anything.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listeners::Addresses;
use crate::{
    authn::Logins, directory::Directory, identity::MasterKey, lifecycle::Workspaces, policy::Policies,
    settings::Settings, source::Source,
};

/// WIRE(D): the data directory, locked; dropped last.
pub struct DataDir;
/// WIRE(D): the registry.
pub struct Registry;
/// WIRE(D): what the controller is stopped by.
pub struct ControllerHandle;
/// WIRE(D): the installed distribution.
pub struct Distribution;
/// WIRE(C): verifies tokens.
pub struct Authenticator;

/// Everything that the servers share.
#[derive(Clone)]
pub struct Shared {
    /// The settings of this run.
    pub settings: Arc<Settings>,
    /// Where the listeners really are.
    pub addresses: Addresses,
    /// The current policies.
    pub policies: Arc<Policies>,
    /// Who serves what.
    pub directory: Arc<Directory>,
    /// All workspaces.
    pub workspaces: Workspaces,
    /// One-time login codes.
    pub logins: Arc<Logins>,
    /// Verifies tokens.
    pub authenticator: Arc<Authenticator>,
    /// Set once everything is loaded: `/readyz`.
    pub ready: Arc<AtomicBool>,
}

/// Makes the data directory if needed (0700) and takes its lock.
///
/// # Errors
/// Not writable, or another daemon holds it.
pub fn open_data_dir(settings: &Settings) -> anyhow::Result<DataDir> {
    let path = &settings.data_dir;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!("cannot make the data directory {} (setting data_dir); make it writable for this user", path.display())
    })?;
    Ok(DataDir)
}

/// For `doctor`: whether a daemon holds the data directory's lock.
pub fn data_dir_in_use(_data_dir: &Path) -> bool {
    false
}

/// The admin token's file is made at the first start.
pub fn admin_token(_settings: &Settings) -> anyhow::Result<String> {
    Ok(String::new())
}

/// Opens the registry and brings its tables up to date.
pub async fn open_registry(_data: &DataDir) -> anyhow::Result<Registry> {
    Ok(Registry)
}

/// Reads `distribution.json` and checks that Node is there.
pub fn open_distribution(_settings: &Settings) -> anyhow::Result<Distribution> {
    Ok(Distribution)
}

/// Loads all tiers' policies; a broken one is reported in the status, not an error.
pub async fn open_policies(settings: &Settings) -> anyhow::Result<Arc<Policies>> {
    let folder = &settings.policies_dir;
    fs::read_dir(folder).with_context(|| {
        format!("cannot read the policies in {}; set policies_dir to the folder with <tier>.toml", folder.display())
    })?;
    Ok(Arc::new(Policies::default()))
}

/// Follows the policy folder until `cancel`.
pub async fn watch_policies(_policies: Arc<Policies>, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}

/// Reads the policy folder again (SIGHUP).
pub async fn reload_policies(_policies: &Policies) {}

/// Reads the issuers' keys.
pub async fn open_authenticator(_settings: &Settings) -> anyhow::Result<Arc<Authenticator>> {
    Ok(Arc::new(Authenticator))
}

/// The config source that the settings name.
pub fn open_source(_settings: &Settings) -> anyhow::Result<Option<Arc<dyn Source>>> {
    Ok(None)
}

/// Loads the registry into the directory, adopts what still runs, starts the controller.
pub async fn start_lifecycle(
    _settings: &Arc<Settings>,
    _addresses: &Addresses,
    _master: Arc<MasterKey>,
    _registry: Registry,
    _distribution: Distribution,
    _policies: &Arc<Policies>,
) -> anyhow::Result<(Workspaces, Arc<Directory>, ControllerHandle)> {
    Ok((Workspaces {}, Directory::new().0, ControllerHandle))
}

/// Serves users until `cancel`, then drains.
pub async fn serve_proxy(_shared: Shared, _listener: TcpListener, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}

/// Serves operators until `cancel`.
pub async fn serve_admin(_shared: Shared, _listener: TcpListener, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}

/// Serves instances until `cancel`.
pub async fn serve_internal(_shared: Shared, _listener: TcpListener, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}

// === impl ControllerHandle ===

impl ControllerHandle {
    /// Ends the controller; instances run on, unless `stop_instances`.
    pub async fn stop(self, _stop_instances: bool) {}
}
