//! `GET /v1/workspaces/{slug}?wait=ready|gone&timeout_s=60`: the CLI's way to follow a change without a busy loop.
//!
//! `ready` answers 200 with the workspace when its newest generation has an outcome (it runs, is stopped, crashes, or its
//! config was refused), or when the time is over: the client looks at phase and conditions either way. `gone` answers 404
//! once this *life* of the workspace is gone, 200 with the workspace when the time is over. A plain GET is the same
//! without the waiting.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::{App, Problem, error::Kind};
use crate::{
    ids::Slug,
    lifecycle::LifecycleError,
    model::{ConditionKind, Phase, Truth, Workspace},
};

/// Longest wait.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(120);
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Between two looks: quick at first, because most changes are, and then easy on the registry.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    wait: Option<WaitFor>,
    timeout_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WaitFor {
    Ready,
    Gone,
}

/// The workspace, now or when what is waited for has happened. Looks at the registry only; dropping it loses nothing.
pub(super) async fn get(app: &App, slug: &Slug, query: &WaitQuery) -> Result<Workspace, Problem> {
    let first = app.workspaces.get(slug).await?;
    let Some(wait) = query.wait else { return Ok(first) };
    let Ok(_place) = app.waiting.try_acquire() else {
        return Err(Problem::new(Kind::Busy, "64 requests wait already; ask again without ?wait"));
    };
    let deadline = Instant::now() + query.timeout_s.map_or(DEFAULT_WAIT, Duration::from_secs).min(MAX_WAIT);
    let (id, mut current, mut pause) = (first.id, first, FIRST_PAUSE);
    loop {
        if current.id != id {
            return match wait {
                // The slug lives again: another workspace. The one that was asked for is gone.
                WaitFor::Gone => Err(LifecycleError::NotFound(slug.clone()).into()),
                WaitFor::Ready => Ok(current),
            };
        }
        let over = Instant::now() >= deadline || app.shutdown.is_cancelled();
        if over || (wait == WaitFor::Ready && is_settled(&current)) {
            return Ok(current);
        }
        let next = deadline.min(Instant::now() + pause);
        tokio::select! {
            // Both cancel-safe: nothing is taken.
            () = tokio::time::sleep_until(next) => {}
            () = app.shutdown.cancelled() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        current = app.workspaces.get(slug).await?;
    }
}

/// Whether the newest generation has an outcome.
fn is_settled(workspace: &Workspace) -> bool {
    let status = &workspace.status;
    if workspace.deleting || status.observed_generation < workspace.generation {
        return false;
    }
    let failed = |kind| status.condition(kind).is_some_and(|condition| condition.truth == Truth::False);
    matches!(status.phase, Phase::Running | Phase::Suspended | Phase::Asleep | Phase::CrashLoop | Phase::Stopped)
        || failed(ConditionKind::ConfigAccepted)
        || failed(ConditionKind::Provisioned)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{
        ids::WorkspaceId,
        model::{Owner, Spec, Status},
    };

    pub(crate) fn workspace(phase: Phase) -> Workspace {
        let now = OffsetDateTime::UNIX_EPOCH;
        Workspace {
            id: WorkspaceId::generate(),
            slug: "acme".parse().expect("a slug"),
            owner: Owner::Api,
            spec: serde_json::from_str::<Spec>(r#"{"tier":"pro"}"#).expect("a spec"),
            generation: 2,
            deleting: false,
            status: Status { observed_generation: 2, phase, ..Status::default() },
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn a_workspace_is_settled_when_its_newest_generation_has_an_outcome() {
        for (phase, settled) in [
            (Phase::Pending, false),
            (Phase::Provisioning, false),
            (Phase::Starting, false),
            (Phase::Running, true),
            (Phase::Suspended, true),
            (Phase::Asleep, true),
            (Phase::CrashLoop, true),
            (Phase::Stopped, true),
            (Phase::Deleting, false),
        ] {
            assert_eq!(is_settled(&workspace(phase)), settled, "{phase:?}");
        }
        let mut behind = workspace(Phase::Running);
        behind.generation = 3;
        assert!(!is_settled(&behind), "it runs, but not yet what was asked for");
        let mut refused = workspace(Phase::Pending);
        let now = OffsetDateTime::UNIX_EPOCH;
        refused.status.set_condition(ConditionKind::ConfigAccepted, Truth::False, "Refused", "no", now);
        assert!(is_settled(&refused));
    }
}
