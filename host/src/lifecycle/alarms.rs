//! What of a workspace's status waits for a person. Pure.

use crate::{
    alerts::Kind,
    model::{ConditionKind, DesiredState, Status, Truth},
};

/// Crashes in a row that are a loop and not an accident. Over only after ten healthy minutes: a loop that pauses is told once.
const LOOP: u32 = 3;
/// The reason of the condition that a failed backup leaves.
const BACKUP_FAILED: &str = "BackupFailed";

/// Each kind, with what is wrong or `None`.
pub(super) fn of(status: &Status, desired: DesiredState) -> [(Kind, Option<&str>); 3] {
    let message = |kind| status.condition(kind).map(|condition| condition.message.as_str());
    let looping = status.crashes >= LOOP && desired == DesiredState::Running;
    // While it is tried again or another one is on its way, it has not failed.
    let failed = status.active_revision.is_some() && status.failed_revision.is_some();
    // By its reason: whoever makes backups says it there.
    let backup = status.conditions.iter().find(|c| c.truth == Truth::False && c.reason == BACKUP_FAILED);
    [
        (Kind::CrashLoop, looping.then(|| message(ConditionKind::Ready).unwrap_or("its instance keeps ending"))),
        (Kind::RolloutFailed, failed.then(|| message(ConditionKind::RolledOut).unwrap_or("it did not come up"))),
        (Kind::BackupFailed, backup.map(|condition| condition.message.as_str())),
    ]
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn one_crash_is_no_loop_and_a_failed_rollout_is_told() {
        let mut status = Status::default();
        let kinds = |status: &Status| of(status, DesiredState::Running).map(|(_, wrong)| wrong.is_some());
        assert_eq!(kinds(&status), [false, false, false]);
        status.crashes = 2;
        assert_eq!(kinds(&status), [false, false, false]);
        status.crashes = 3;
        status.active_revision = Some(crate::ids::Digest::of(b""));
        let now = OffsetDateTime::UNIX_EPOCH;
        status.set_condition(
            ConditionKind::RolledOut,
            Truth::False,
            "RollingOut",
            "revision 1 is being rolled out",
            now,
        );
        assert_eq!(kinds(&status), [true, false, false]);
        status.failed_revision = status.active_revision;
        status.set_condition(ConditionKind::RolledOut, Truth::False, "DidNotComeUp", "revision 1 did not come up", now);
        assert_eq!(of(&status, DesiredState::Running)[1].1, Some("revision 1 did not come up"));
        assert_eq!(kinds(&status), [true, true, false]);
        assert_eq!(of(&status, DesiredState::Stopped)[0].1, None);
        status.set_condition(ConditionKind::Provisioned, Truth::False, BACKUP_FAILED, "the bucket is away", now);
        assert_eq!(of(&status, DesiredState::Stopped)[2].1, Some("the bucket is away"));
    }
}
