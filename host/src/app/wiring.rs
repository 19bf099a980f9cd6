//! The calls into the other parts, one small function each, so that `serve` reads as the start order. Nothing here decides
//! anything.

use std::{
    fs,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use prometheus_client::registry::Registry as Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listeners::Addresses;
use crate::{
    api::{self, AdminToken, ApiState},
    authn::{Authenticator, Logins},
    db::Registry,
    directory::{Directory, InternalPaths},
    driver::Distribution,
    lifecycle::Workspaces,
    policy::Policies,
    proxy::{Proxy, ProxyParts},
    settings::Settings,
    source::{DirectorySource, Source},
};

/// WIRE(D): `lifecycle::ControllerHandle`.
pub struct ControllerHandle;

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
    /// The admin API's bearer.
    pub admin_token: AdminToken,
    /// Set once everything is loaded: `/readyz`.
    pub ready: Arc<AtomicBool>,
}

/// Reads `distribution.json` and checks that its Node works.
pub async fn open_distribution(settings: &Settings) -> anyhow::Result<Distribution> {
    let distribution = Distribution::open(&settings.distribution, settings.instances.node.as_deref()).await?;
    if let Some(warning) = &distribution.warning {
        tracing::warn!("{warning}");
    }
    tracing::info!(name = distribution.name, version = distribution.version, "distribution");
    Ok(distribution)
}

/// Loads all tiers' policies; a broken one is reported in the status, not an error. WIRE(B): `Policies::open(options)`.
pub async fn open_policies(settings: &Settings, _metrics: &mut Metrics) -> anyhow::Result<Arc<Policies>> {
    let folder = &settings.policies_dir;
    fs::read_dir(folder).with_context(|| {
        format!("cannot read the policies in {}; set policies_dir to the folder with <tier>.toml", folder.display())
    })?;
    Ok(Arc::new(Policies::default()))
}

/// Follows the policy folder until `cancel`. WIRE(B): `policies.watch(cancel)`.
pub async fn watch_policies(_policies: Arc<Policies>, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}

/// Reads the policy folder again (SIGHUP). WIRE(B): `policies.reload()`.
pub async fn reload_policies(_policies: &Policies) {}

/// The config source that the settings name.
pub async fn open_source(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Source>>> {
    let Some(directory) = settings.source.directory.clone() else { return Ok(None) };
    // Watching every folder of a large source takes a while.
    let open = move || DirectorySource::open(directory.path, Duration::from_secs(directory.poll_s));
    let source = tokio::task::spawn_blocking(open).await.context("opening the config source")??;
    Ok(Some(Arc::new(source)))
}

/// Loads the registry into the directory, adopts what still runs, starts the controller. WIRE(D): `lifecycle::start(Parts)`;
/// it also needs the data directory, `addresses.proxy.port()` for public URLs and `addresses.internal`.
pub async fn start_lifecycle(
    _settings: &Arc<Settings>,
    _addresses: &Addresses,
    _registry: Registry,
    _distribution: Distribution,
    _policies: &Arc<Policies>,
    _internal_paths: &Arc<InternalPaths>,
    _metrics: &mut Metrics,
) -> anyhow::Result<(Workspaces, Arc<Directory>, ControllerHandle)> {
    Ok((Workspaces {}, Directory::new().0, ControllerHandle))
}

/// The front, with its metrics registered.
pub fn open_proxy(shared: &Shared, metrics: &mut Metrics) -> Arc<Proxy> {
    let parts = ProxyParts {
        settings: shared.settings.proxy.clone(),
        bound_port: shared.addresses.proxy.port(),
        directory: shared.directory.clone(),
        policies: shared.policies.clone(),
        authenticator: shared.authenticator.clone(),
        logins: shared.logins.clone(),
    };
    Proxy::new(parts, metrics)
}

/// Serves users until `cancel`, then drains.
pub async fn serve_proxy(proxy: Arc<Proxy>, listener: TcpListener, cancel: CancellationToken) -> anyhow::Result<()> {
    proxy.serve(listener, cancel).await;
    Ok(())
}

/// Serves operators until `cancel`.
pub async fn serve_admin(
    shared: Shared,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let router = api::admin_router(ApiState {
        workspaces: shared.workspaces,
        logins: shared.logins,
        policies: shared.policies,
        metrics,
        token: shared.admin_token,
        ready: shared.ready,
        proxy: shared.settings.proxy.clone(),
        proxy_port: shared.addresses.proxy.port(),
        hosts: shared.settings.admin.hosts.clone(),
        shutdown: cancel.clone(),
    });
    api::serve(listener, router, cancel).await;
    Ok(())
}

/// Serves instances until `cancel`.
pub async fn serve_internal(
    paths: Arc<InternalPaths>,
    listener: TcpListener,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    api::serve(listener, api::internal_router(paths), cancel).await;
    Ok(())
}

// === impl ControllerHandle ===

impl ControllerHandle {
    /// Ends the controller; instances run on, unless `stop_instances`.
    pub async fn stop(self, _stop_instances: bool) {}
}
