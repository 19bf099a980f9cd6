//! `orbitd serve`, from the first line of the log to the last.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use prometheus_client::registry::Registry as Metrics;
use rustix::process::{Resource, Rlimit};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    listeners, log, preflight, ready,
    signals::{Asked, Signals},
    source_loop::{self, SourceStatus},
    tasks::Tasks,
    wiring::{self, LifecycleParts, Shared},
};
use crate::{
    api::AdminToken,
    authn::Authenticator,
    db::DataDir,
    directory::InternalPaths,
    identity::MasterKey,
    settings::{OnRemoved, Settings},
};

/// Longest wait for a part that has nothing to drain.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for requests under way when the instances are stopped too: whoever asks for that does not wait long.
const STOP_ALL_DRAIN: Duration = Duration::from_secs(2);
/// What stopping all instances may take beyond one instance's own SIGTERM to SIGKILL time.
const STOP_INSTANCES_EXTRA: Duration = Duration::from_secs(10);

/// How to run, beside the settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServeOptions {
    /// Stop the instances at the end, too. Without it they run on for the next daemon.
    pub stop_instances: bool,
    /// The ready line as JSON.
    pub json: bool,
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

    // Dropped last: the lock is held until everything below is gone.
    let data_dir = Arc::new(DataDir::open(&settings.data_dir)?);
    let master = Arc::new(MasterKey::load_or_create(&data_dir.master_key())?);
    let admin_token = AdminToken::load_or_create(&data_dir.admin_token())?;
    let registry = wiring::open_registry(&settings, &data_dir, master).await?;
    let mut metrics = Metrics::default();
    let distribution = wiring::open_distribution(&settings).await?;
    let policies = wiring::open_policies(&settings, &data_dir, &mut metrics).await?;
    let authenticator = Authenticator::open(&settings.auth)?;
    let source = wiring::open_source(&settings).await?;
    let listeners::Listeners { proxy, admin, internal, addresses } = listeners::bind(&settings).await?;

    // Nothing was started so far; from here on a stop is an orderly one.
    let mut signals = Signals::register()?;
    let internal_paths = Arc::new(InternalPaths::default());
    let parts = LifecycleParts {
        settings: settings.clone(),
        addresses,
        data_dir: data_dir.clone(),
        registry: registry.clone(),
        distribution,
        policies: policies.clone(),
        internal_paths: internal_paths.clone(),
    };
    let (workspaces, directory, controller) = wiring::start_lifecycle(parts, &mut metrics).await?;
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
    };
    let front = wiring::open_proxy(&shared, &mut metrics);
    // Everybody has registered: from here on it is only read.
    let metrics = Arc::new(metrics);

    let mut tasks = Tasks::default();
    tasks.spawn("internal", |cancel| wiring::serve_internal(internal_paths, internal, cancel));
    tasks.spawn("admin", |cancel| wiring::serve_admin(shared.clone(), metrics, admin, cancel));
    tasks.spawn("proxy", |cancel| wiring::serve_proxy(front, proxy, cancel));
    tasks.spawn("policies", |cancel| wiring::watch_policies(policies.clone(), cancel));
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

    let failure = loop {
        tokio::select! {
            // Cancel-safe: a signal that comes in between is kept.
            asked = signals.next() => match asked {
                Asked::Stop => break None,
                Asked::Reload => {
                    tracing::info!("SIGHUP: reading policies and config source again");
                    reload_source.notify_one();
                    wiring::reload_policies(&policies).await;
                }
            },
            // Cancel-safe: the tasks run on.
            failure = tasks.first_end() => break Some(failure),
        }
    };

    match &failure {
        Some(failure) => tracing::error!("stopping, because {failure}; instances run on for the next daemon"),
        None if options.stop_instances => tracing::info!("stopping, instances too"),
        None => tracing::info!("stopping; instances run on for the next daemon"),
    }
    ready::notify("STOPPING=1");
    let drain = match options.stop_instances {
        true => STOP_ALL_DRAIN,
        false => Duration::from_secs(settings.instances.drain_timeout_s),
    };
    tasks.stop("source", STOP_DEADLINE, &mut signals).await;
    tasks.stop("proxy", drain, &mut signals).await;
    let stopping = Duration::from_secs(settings.instances.stop_timeout_s) + STOP_INSTANCES_EXTRA;
    tokio::select! {
        stopped = timeout(stopping, controller.shutdown(options.stop_instances)) => {
            if stopped.is_err() {
                tracing::error!("the controller did not end in time; `orbitd doctor` shows what still runs");
            }
        }
        // Cancel-safe enough: what was not stopped is adopted by the next daemon.
        () = signals.stop() => tracing::warn!("cut off by a further signal; instances may run on for the next daemon"),
    }
    for task in ["rendering", "policies", "admin", "internal"] {
        tasks.stop(task, STOP_DEADLINE, &mut signals).await;
    }
    wiring::flush_decisions(policies, STOP_DEADLINE).await;
    registry.close().await;
    drop(data_dir);
    tracing::info!("stopped");
    match failure {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
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
