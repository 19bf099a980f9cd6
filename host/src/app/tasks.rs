//! The few tasks that everything stands on: named, each with an own cancellation, stopped in an order of our choosing.

use std::{future::Future, time::Duration};

use futures_util::future::select_all;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::signals::Signals;

/// All essential tasks that run.
#[derive(Default)]
pub struct Tasks(Vec<Task>);

struct Task {
    name: &'static str,
    cancel: CancellationToken,
    handle: JoinHandle<anyhow::Result<()>>,
}

impl Tasks {
    /// Starts one; `run` gets the token that tells it to finish.
    pub fn spawn<F>(&mut self, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let handle = tokio::spawn(run(cancel.clone()));
        self.0.push(Task { name, cancel, handle });
    }

    /// Waits until one ends, which none should: says which and why. Pending for ever without tasks. Cancel-safe.
    pub async fn first_end(&mut self) -> String {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (ended, index, _) = select_all(self.0.iter_mut().map(|task| &mut task.handle)).await;
        let task = self.0.remove(index);
        match ended {
            Ok(Ok(())) => format!("the {} task ended by itself", task.name),
            Ok(Err(error)) => format!("the {} task failed: {error:#}", task.name),
            Err(_) => format!("the {} task panicked (the panic is in the log)", task.name),
        }
    }

    /// Tells one to finish; [`Tasks::stop`] then waits for it.
    pub fn cancel(&self, name: &str) {
        if let Some(task) = self.0.iter().find(|task| task.name == name) {
            task.cancel.cancel();
        }
    }

    /// Tells one to finish and waits, at most for `deadline` and at most until a further stop signal; then it is cut off.
    pub async fn stop(&mut self, name: &'static str, deadline: Duration, signals: &mut Signals) {
        let Some(index) = self.0.iter().position(|task| task.name == name) else { return };
        let mut task = self.0.remove(index);
        task.cancel.cancel();
        tokio::select! {
            ended = timeout(deadline, &mut task.handle) => match ended {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(task = name, "{error:#}"),
                Ok(Err(_)) => tracing::warn!(task = name, "panicked while it stopped"),
                Err(_) => tracing::warn!(task = name, deadline_s = deadline.as_secs(), "did not finish in time and was cut off"),
            },
            // Cancel-safe: the task itself goes on until it is aborted below.
            () = signals.stop() => tracing::warn!(task = name, "cut off by a further signal"),
        }
        task.handle.abort();
    }
}
