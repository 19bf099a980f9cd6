//! Whether a workspace is where a command wants it. Pure.

use super::Resource;
use crate::model::{ConditionKind, DesiredState, Phase, Truth};

/// What a command waits for.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The generation that the command's change made.
    pub generation: i64,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not there yet; what is going on, for the progress line.
    Going(String),
    /// There.
    Reached,
    /// It won't get there by waiting: why, and what to do.
    Failed(String),
}

/// The verdict on one answer of the API.
pub fn judge(resource: &Resource, goal: Goal) -> Verdict {
    let workspace = &resource.workspace;
    let (slug, status) = (&workspace.slug, &workspace.status);
    let failing = |kind| status.condition(kind).filter(|condition| condition.truth == Truth::False);
    if workspace.deleting {
        return Verdict::Failed(format!("{slug} is being deleted"));
    }
    // A refused config is said at once, whatever generation the controller was at: nothing moves until it is mended.
    if let Some(condition) = failing(ConditionKind::ConfigAccepted)
        && status.observed_generation >= goal.generation
    {
        return Verdict::Failed(format!(
            "the configuration of {slug} is not accepted: {} (`orbitd workspace set {slug} …`, or its config source)",
            condition.message
        ));
    }
    if status.phase == Phase::CrashLoop {
        let why = failing(ConditionKind::Ready).map(|c| c.message.as_str()).unwrap_or("its instance keeps ending");
        return Verdict::Failed(format!(
            "{slug} does not come up: {why} (`orbitd workspace logs {slug}` shows its log)"
        ));
    }
    if status.observed_generation < goal.generation {
        return Verdict::Going(phase(status.phase).to_owned());
    }
    if workspace.spec.desired == DesiredState::Stopped {
        return match status.phase {
            Phase::Stopped => Verdict::Reached,
            _ => Verdict::Going("stopping".to_owned()),
        };
    }
    if matches!(status.phase, Phase::Suspended | Phase::Asleep) {
        // The next request wakes it; nobody need wait for that.
        return Verdict::Reached;
    }
    let ready = status.condition(ConditionKind::Ready).is_some_and(|condition| condition.truth == Truth::True);
    let rolled_out = status.condition(ConditionKind::RolledOut).is_none_or(|condition| condition.truth == Truth::True);
    match (ready && status.phase == Phase::Running, rolled_out, failing(ConditionKind::RolledOut)) {
        (true, true, _) => Verdict::Reached,
        (true, false, Some(condition)) if status.failed_revision.is_some() => Verdict::Failed(format!(
            "the change of {slug} did not come up, the last good revision serves again: {} (`orbitd workspace logs {slug}`)",
            condition.message
        )),
        (true, false, _) => Verdict::Going("rolling out".to_owned()),
        (false, ..) => Verdict::Going(phase(status.phase).to_owned()),
    }
}

/// A phase as people read it; the word that the API uses.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Provisioning => "provisioning",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Suspended => "suspended",
        Phase::Asleep => "asleep",
        Phase::CrashLoop => "crash-loop",
        Phase::Stopped => "stopped",
        Phase::Deleting => "deleting",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;

    fn resource() -> Resource {
        let at = "2026-01-01T00:00:00Z";
        serde_json::from_value(json!({
            "id": "01890000-0000-7000-8000-000000000000", "slug": "acme", "owner": "api", "spec": {"tier": "pro"},
            "generation": 2, "deleting": false, "created_at": at, "updated_at": at, "url": "http://acme.localhost:7080",
            "status": {"observed_generation": 2, "phase": "running", "conditions": [], "plugins": [],
                "active_revision": null, "failed_revision": null, "crashes": 0, "retry_at": null},
        }))
        .expect("a workspace as the API writes it")
    }

    fn with(kind: ConditionKind, truth: Truth) -> Resource {
        let mut resource = resource();
        let now = OffsetDateTime::UNIX_EPOCH;
        resource.workspace.status.set_condition(ConditionKind::Ready, Truth::True, "Ready", "", now);
        resource.workspace.status.set_condition(kind, truth, "Because", "the reason", now);
        resource
    }

    const GOAL: Goal = Goal { generation: 2 };

    #[test]
    fn a_workspace_is_there_when_its_newest_generation_serves() {
        assert_eq!(judge(&with(ConditionKind::RolledOut, Truth::True), GOAL), Verdict::Reached);
        assert_eq!(
            judge(&with(ConditionKind::Ready, Truth::True), Goal { generation: 3 }),
            Verdict::Going("running".into())
        );
        assert_eq!(judge(&with(ConditionKind::Ready, Truth::Unknown), GOAL), Verdict::Going("running".into()));
        assert_eq!(judge(&with(ConditionKind::RolledOut, Truth::False), GOAL), Verdict::Going("rolling out".into()));
    }

    #[test]
    fn what_waiting_does_not_mend_is_said_with_its_reason() {
        let refused = with(ConditionKind::ConfigAccepted, Truth::False);
        assert!(matches!(judge(&refused, GOAL), Verdict::Failed(why) if why.contains("the reason")));
        let mut looping = with(ConditionKind::Ready, Truth::False);
        looping.workspace.status.phase = Phase::CrashLoop;
        assert!(
            matches!(judge(&looping, GOAL), Verdict::Failed(why) if why.contains("the reason") && why.contains("logs acme"))
        );
        let mut rolled_back = with(ConditionKind::RolledOut, Truth::False);
        rolled_back.workspace.status.failed_revision = Some(crate::ids::Digest::of(b"new"));
        assert!(matches!(judge(&rolled_back, GOAL), Verdict::Failed(why) if why.contains("last good revision")));
    }

    #[test]
    fn a_stopped_workspace_is_there_when_it_is_down() {
        let mut stopping = resource();
        stopping.workspace.spec.desired = DesiredState::Stopped;
        assert_eq!(judge(&stopping, GOAL), Verdict::Going("stopping".into()));
        stopping.workspace.status.phase = Phase::Stopped;
        assert_eq!(judge(&stopping, GOAL), Verdict::Reached);
    }
}
