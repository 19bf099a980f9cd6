//! The calls into the other parts, one small function each, so that `serve` reads as the start order. Nothing here decides
//! anything.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use prometheus_client::registry::Registry as Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listeners::Addresses;
use crate::{
    alerts::Alerts,
    api::{self, AdminToken, ApiState, UpgradeHandle},
    authn::{Authenticator, Logins},
    db::{DataDir, Place, Registry},
    directory::{Directory, InternalPaths},
    driver::Distribution,
    identity::MasterKey,
    lifecycle::{self, ControllerHandle, Workspaces},
    policy::{Isolation, Policies, PolicyError, PolicyOptions, load_or_create_cache_key, remote::RemoteOptions},
    proxy::{Proxy, ProxyParts},
    settings::Settings,
    source::{DirectorySource, Source},
};

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
    /// Asks for an upgrade.
    pub upgrade: UpgradeHandle,
}

/// The registry: in the data directory, or on the server that the settings name.
pub async fn open_registry(
    settings: &Settings,
    data_dir: &DataDir,
    master: Arc<MasterKey>,
) -> anyhow::Result<Registry> {
    let place = match settings.registry.server()? {
        Some(url) => Place::Server(url),
        None => Place::File(data_dir.registry()),
    };
    tracing::info!(%place, "registry");
    Ok(Registry::open(&place, master).await?)
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

/// Loads all tiers' policies; a broken one is reported in the status, not an error. Compiles in a child process of this very
/// program (`orbitd compile-policy`).
pub async fn open_policies(
    settings: &Settings,
    data_dir: &DataDir,
    metrics: &mut Metrics,
) -> anyhow::Result<Arc<Policies>> {
    let program = std::env::current_exe().context("finding this program's own file, to compile policies with")?;
    let key_file = data_dir.policy_cache_key();
    let cache_key = load_or_create_cache_key(&key_file)
        .with_context(|| format!("cannot use the policy cache's key {}", key_file.display()))?;
    let options = PolicyOptions {
        folder: settings.policies_dir.clone(),
        cache_folder: data_dir.policy_cache(),
        cache_key,
        isolation: Isolation::Child { program, args: vec!["compile-policy".into()] },
        rollouts_folder: Some(data_dir.policy_rollouts()),
        remote: RemoteOptions::new(data_dir.policy_modules(), &settings.oci),
        accepted_versions: Some(data_dir.policy_versions()),
        decision_log: settings.decision_log.clone(),
    };
    let policies = tokio::task::spawn_blocking(move || Policies::open(options)).await.context("loading policies")?;
    let policies = match policies {
        Err(error @ PolicyError::Folder(_)) => {
            return Err(error).context("set policies_dir to the folder with <tier>.toml");
        }
        opened => opened?,
    };
    policies.metrics().register(metrics);
    Ok(policies)
}

/// Follows the policy folder until `cancel`.
pub async fn watch_policies(policies: Arc<Policies>, cancel: CancellationToken) -> anyhow::Result<()> {
    policies.watch(cancel).await;
    Ok(())
}

/// Tells the controller of each new policy set, until `cancel`: every workspace is rendered again.
pub async fn render_after_swaps(
    policies: Arc<Policies>,
    workspaces: Workspaces,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let mut versions = policies.versions();
    loop {
        // Cancel-safe: a version that was not waited for is still new.
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            changed = versions.changed() => changed.context("the policies are gone")?,
        }
        if let Err(error) = workspaces.look_at_all().await {
            tracing::warn!(%error, "workspaces are rendered by the next scan, not now");
        }
    }
}

/// Waits until the decision log has what was decided, at most `limit`.
pub async fn flush_decisions(policies: Arc<Policies>, limit: Duration) {
    // Its failure could only be a panic, and the daemon is at its end.
    let _ = tokio::task::spawn_blocking(move || policies.flush_decisions(limit)).await;
}

/// Reads the policy folder again (SIGHUP).
pub async fn reload_policies(policies: &Arc<Policies>) {
    if let Err(error) = policies.reload().await {
        tracing::error!(%error, "the policies could not be read again; the old set serves");
    }
}

/// The config source that the settings name.
pub async fn open_source(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Source>>> {
    let Some(directory) = settings.source.directory.clone() else { return Ok(None) };
    // Watching every folder of a large source takes a while.
    let open = move || DirectorySource::open(directory.path, Duration::from_secs(directory.poll_s));
    let source = tokio::task::spawn_blocking(open).await.context("opening the config source")??;
    Ok(Some(Arc::new(source)))
}

/// What the controller is started with.
pub struct LifecycleParts {
    /// The settings of this run.
    pub settings: Arc<Settings>,
    /// Where the listeners really are.
    pub addresses: Addresses,
    /// Opened and locked.
    pub data_dir: Arc<DataDir>,
    /// Opened.
    pub registry: Registry,
    /// Told what waits for a person.
    pub alerts: Arc<Alerts>,
    /// Opened.
    pub distribution: Distribution,
    /// Loaded.
    pub policies: Arc<Policies>,
    /// Shared with the internal listener.
    pub internal_paths: Arc<InternalPaths>,
}

/// Loads the registry into the directory, adopts what still runs, starts the controller.
pub async fn start_lifecycle(
    parts: LifecycleParts,
    metrics: &mut Metrics,
) -> anyhow::Result<(Workspaces, Arc<Directory>, ControllerHandle)> {
    let (directory, hints) = Directory::new();
    let (workspaces, controller) = lifecycle::start(lifecycle::Parts {
        settings: parts.settings,
        registry: parts.registry,
        data_dir: parts.data_dir,
        directory: directory.clone(),
        hints,
        internal_paths: parts.internal_paths,
        alerts: parts.alerts,
        policies: parts.policies,
        distribution: parts.distribution,
        proxy_port: parts.addresses.proxy.port(),
        internal_port: parts.addresses.internal.port(),
    })
    .await?;
    controller.metrics().register(metrics);
    Ok((workspaces, directory, controller))
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
        authenticator: shared.authenticator,
        policies: shared.policies,
        metrics,
        token: shared.admin_token,
        ready: shared.ready,
        upgrade: shared.upgrade,
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
