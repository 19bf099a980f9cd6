//! The end of a daemon: by wish, by a failure, or by handing over to another one.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use tokio::time::timeout;

use super::{
    handover::{self, Successor},
    ready,
    signals::Signals,
    tasks::Tasks,
    wiring,
};
use crate::{
    db::{DataDir, Registry},
    lifecycle::ControllerHandle,
    policy::Policies,
    settings::Settings,
};

/// Longest wait for a part that has nothing to drain.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for requests under way when the instances are stopped too: whoever asks for that does not wait long.
const STOP_ALL_DRAIN: Duration = Duration::from_secs(2);
/// What stopping all instances may take beyond one instance's own SIGTERM to SIGKILL time.
const STOP_INSTANCES_EXTRA: Duration = Duration::from_secs(10);
/// Everything but the front, in the order of its end.
const BEHIND: [&str; 6] = ["rendering", "policies", "admin", "internal", "pressure", "alerts"];

/// Why it ends.
pub enum End {
    /// A signal.
    Asked,
    /// An essential task ended by itself.
    Failed(String),
    /// Another program is ready to go on.
    HandedOver(Successor),
}

/// Everything that runs.
pub struct Running {
    /// The settings of this run.
    pub settings: Arc<Settings>,
    /// A further signal cuts a wait.
    pub signals: Signals,
    /// The essential tasks.
    pub tasks: Tasks,
    /// The controller.
    pub controller: ControllerHandle,
    /// Loaded.
    pub policies: Arc<Policies>,
    /// Open.
    pub registry: Registry,
    /// Locked.
    pub data_dir: Arc<DataDir>,
    /// Second handles on the listeners.
    pub handles: Arc<Vec<OwnedFd>>,
}

impl Running {
    /// Ends it. `Ok` after an orderly end.
    pub async fn end(self, end: End, stop_instances: bool) -> anyhow::Result<()> {
        match end {
            End::HandedOver(successor) => self.hand_over(successor).await,
            End::Asked if stop_instances => {
                tracing::info!("stopping, instances too");
                self.stop(true, None).await
            }
            End::Asked => {
                tracing::info!("stopping; instances run on for the next daemon");
                self.stop(false, None).await
            }
            End::Failed(failure) => {
                tracing::error!("stopping, because {failure}; instances run on for the next daemon");
                self.stop(stop_instances, Some(failure)).await
            }
        }
    }

    async fn stop(mut self, stop_instances: bool, failure: Option<String>) -> anyhow::Result<()> {
        ready::notify("STOPPING=1");
        // Whoever comes now must be refused, not left waiting for nobody; a supervisor's own handle keeps its queue open.
        drop(self.handles);
        let drain = match stop_instances {
            true => STOP_ALL_DRAIN,
            false => Duration::from_secs(self.settings.instances.drain_timeout_s),
        };
        self.tasks.stop("source", STOP_DEADLINE, &mut self.signals).await;
        self.tasks.stop("proxy", drain, &mut self.signals).await;
        let stopping = Duration::from_secs(self.settings.instances.stop_timeout_s) + STOP_INSTANCES_EXTRA;
        tokio::select! {
            stopped = timeout(stopping, self.controller.shutdown(stop_instances)) => {
                if stopped.is_err() {
                    tracing::error!("the controller did not end in time; `orbitd doctor` shows what still runs");
                }
            }
            // Cancel-safe enough: what was not stopped is adopted by the next daemon.
            () = self.signals.stop() => {
                tracing::warn!("cut off by a further signal; instances may run on for the next daemon");
            }
        }
        for task in BEHIND {
            self.tasks.stop(task, STOP_DEADLINE, &mut self.signals).await;
        }
        wiring::flush_decisions(self.policies, STOP_DEADLINE).await;
        self.registry.close().await;
        drop(self.data_dir);
        tracing::info!("stopped");
        match failure {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }

    /// The order is what keeps it whole: nobody accepts, then nobody writes, then the lock is let go, then the other one begins; what
    /// is under way here finishes beside it.
    async fn hand_over(mut self, successor: Successor) -> anyhow::Result<()> {
        tracing::info!(pid = successor.pid(), "handing over");
        for task in ["source", "proxy"].iter().chain(&BEHIND) {
            self.tasks.cancel(task);
        }
        self.tasks.stop("source", STOP_DEADLINE, &mut self.signals).await;
        self.controller.shutdown(false).await;
        self.registry.close().await;
        self.data_dir.unlock()?;
        let pid = match successor.go().await {
            Ok(pid) => pid,
            Err(error) => {
                tracing::error!("{error:#}; this daemon's own program takes its place");
                let own = handover::take_back(self.handles.clone()).await.context("taking it back")?;
                own.go().await.context("taking it back")?
            }
        };
        ready::notify(&format!("MAINPID={pid}"));
        tracing::info!(pid, "handed over; requests under way finish here");
        let drain = Duration::from_secs(self.settings.instances.drain_timeout_s);
        self.tasks.stop("proxy", drain, &mut self.signals).await;
        for task in BEHIND {
            self.tasks.stop(task, STOP_DEADLINE, &mut self.signals).await;
        }
        wiring::flush_decisions(self.policies, STOP_DEADLINE).await;
        tracing::info!("stopped");
        Ok(())
    }
}
