//! `orbitd serve`, from the first line of the log to the last.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use prometheus_client::registry::Registry as Metrics;
use rustix::process::{Resource, Rlimit};
use tokio::{sync::Notify, time::Instant};

use super::{
    handover::{self, Takeover},
    listeners, log, preflight, pressure, ready,
    shutdown::{End, Running},
    signals::{Asked, Signals},
    source_loop::{self, SourceStatus},
    tasks::Tasks,
    wiring::{self, LifecycleParts, Shared},
};
use crate::{
    alerts::{self, Alerts},
    api::{AdminToken, UpgradeHandle},
    authn::Authenticator,
    db::DataDir,
    directory::InternalPaths,
    identity::MasterKey,
    settings::{OnRemoved, Settings},
};

/// How to run, beside the settings.
#[derive(Debug, Default)]
pub struct ServeOptions {
    /// Stop the instances at the end, too. Without it they run on for the next daemon.
    pub stop_instances: bool,
    /// The ready line as JSON.
    pub json: bool,
    /// Takes over from a running daemon ([`super::handover`]).
    pub takeover: bool,
    /// Listeners that a supervisor keeps open.
    pub listeners: Vec<std::net::TcpListener>,
    /// This program's own path, asked for before anybody could replace it.
    pub program: PathBuf,
}

/// Runs the daemon until a signal. `Ok` after an orderly end that a signal asked for.
///
/// # Errors
/// Anything that keeps it from starting, or an essential task that ended by itself; each text names the thing, the reason
/// and the next step.
pub async fn serve(settings: Settings, options: ServeOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    log::start(&settings.log)?;
    check(&settings)?;
    prepare_process();
    let settings = Arc::new(settings);

    let (takeover, given) = match options.takeover {
        true => Takeover::begin().map(|(takeover, given)| (Some(takeover), given))?,
        false => (None, options.listeners),
    };
    // Dropped last: the lock is held until everything below is gone.
    let data_dir = Arc::new(DataDir::find(&settings.data_dir)?);
    if takeover.is_none() {
        data_dir.lock()?;
    }
    let mut metrics = Metrics::default();
    let distribution = wiring::open_distribution(&settings).await?;
    let policies = wiring::open_policies(&settings, &data_dir, &mut metrics).await?;
    let authenticator = Authenticator::open(&settings.auth)?;
    let source = wiring::open_source(&settings).await?;
    if let Some(takeover) = &takeover {
        // Up to here nothing that the other daemon is on was touched.
        takeover.prepared().await?;
        data_dir.lock()?;
    }
    let master = Arc::new(MasterKey::load_or_create(&data_dir.master_key())?);
    let admin_token = AdminToken::load_or_create(&data_dir.admin_token())?;
    let registry = wiring::open_registry(&settings, &data_dir, master).await?;
    let listeners = listeners::bind(&settings, given).await?;
    let handles = Arc::new(listeners.handles()?);
    let listeners::Listeners { proxy, admin, internal, addresses } = listeners;

    // Nothing was started so far; from here on a stop is an orderly one.
    let mut signals = Signals::register()?;
    let internal_paths = Arc::new(InternalPaths::default());
    let (alerts, outbox) = Alerts::new(&settings.alerts);
    let alerts = Arc::new(alerts);
    let parts = LifecycleParts {
        settings: settings.clone(),
        addresses,
        data_dir: data_dir.clone(),
        registry: registry.clone(),
        distribution,
        policies: policies.clone(),
        internal_paths: internal_paths.clone(),
        alerts: alerts.clone(),
    };
    let (workspaces, directory, controller) = wiring::start_lifecycle(parts, &mut metrics).await?;
    let (upgrade, mut upgrades) = UpgradeHandle::new();
    let source_status = SourceStatus::new(source.as_ref().map_or("", |source| source.name()));
    let shared = Shared {
        settings: settings.clone(),
        addresses,
        policies: policies.clone(),
        directory,
        workspaces: workspaces.clone(),
        logins: Arc::default(),
        authenticator,
        admin_token,
        ready: Arc::default(),
        upgrade,
    };
    let front = wiring::open_proxy(&shared, &mut metrics);
    // Everybody has registered: from here on it is only read.
    let metrics = Arc::new(metrics);

    let mut tasks = Tasks::default();
    tasks.spawn("internal", |cancel| wiring::serve_internal(internal_paths, internal, cancel));
    tasks.spawn("admin", |cancel| wiring::serve_admin(shared.clone(), metrics, admin, cancel));
    tasks.spawn("proxy", |cancel| wiring::serve_proxy(front, proxy, cancel));
    tasks.spawn("policies", |cancel| wiring::watch_policies(policies.clone(), cancel));
    let webhooks = settings.alerts.webhooks.clone();
    tasks.spawn("alerts", |cancel| alerts::run(outbox, webhooks, cancel));
    let (limits, watched) = (settings.alerts.clone(), data_dir.path().to_owned());
    tasks.spawn("pressure", |cancel| pressure::watch(alerts, limits, watched, cancel));
    let rendered = workspaces.clone();
    tasks.spawn("rendering", |cancel| wiring::render_after_swaps(policies.clone(), rendered, cancel));
    let reload_source = Arc::new(Notify::new());
    if let Some(source) = source {
        let delete = settings.source.directory.as_ref().is_some_and(|d| d.on_removed == OnRemoved::Delete);
        let reload = reload_source.clone();
        let status = source_status.clone();
        tasks.spawn("source", |cancel| source_loop::follow(source, workspaces, delete, status, reload, cancel));
    }
    let ready = shared.ready.clone();
    tokio::spawn(async move {
        source_status.tried().await;
        ready.store(true, Ordering::Release);
    });
    ready::announce(&settings, &addresses, began.elapsed(), options.json);
    if let Some(takeover) = takeover {
        takeover.serving();
    }

    let end = loop {
        tokio::select! {
            // Cancel-safe: a signal that comes in between is kept.
            asked = signals.next() => match asked {
                Asked::Stop => break End::Asked,
                Asked::Reload => {
                    tracing::info!("SIGHUP: reading policies and config source again");
                    reload_source.notify_one();
                    wiring::reload_policies(&policies).await;
                }
            },
            // Cancel-safe: a request that is not taken stays in its queue.
            request = upgrades.next() => {
                tracing::info!(program = %options.program.display(), "an upgrade is asked for: its program gets ready");
                let prepared = tokio::select! {
                    prepared = handover::prepare(options.program.clone(), handles.clone()) => prepared,
                    // Given up, the successor ends by itself: its channel closes.
                    () = signals.stop() => break End::Asked,
                };
                if let Some(successor) = request.answer(prepared.map(|successor| (successor.pid(), successor))) {
                    break End::HandedOver(successor);
                }
            }
            // Cancel-safe: the tasks run on.
            failure = tasks.first_end() => break End::Failed(failure),
        }
    };
    let running = Running { settings, signals, tasks, controller, policies, registry, data_dir, handles };
    running.end(end, options.stop_instances).await
}

/// Refuses settings that can't work; says what the others are.
fn check(settings: &Settings) -> anyhow::Result<()> {
    let problems = preflight::problems(settings);
    if !problems.is_empty() {
        bail!("the settings can't work:\n  - {}", problems.join("\n  - "));
    }
    for warning in preflight::warnings(settings) {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %settings.data_dir.display(),
        policies_dir = %settings.policies_dir.display(),
        distribution = %settings.distribution.display(),
        source = %settings.source.directory.as_ref().map_or("none".into(), |d| d.path.display().to_string()),
        "orbitd starts"
    );
    tracing::debug!(settings = %serde_json::to_string(settings).context("settings as JSON")?, "all settings");
    Ok(())
}

/// Files that are made from here on are for this user alone; as many open files as the system allows (a connection is two).
fn prepare_process() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
