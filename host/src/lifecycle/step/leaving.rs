//! Instances that give up their requests without a successor beside them: to end, or to sleep where they are.

use super::{CUT_PAUSE, Look, Step, Why};
use crate::lifecycle::facts::{InstanceFacts, Leave};

impl Look<'_> {
    /// Takes an instance out of service without a successor beside it.
    pub(super) fn leave(&mut self, instance: &InstanceFacts, why: Why) -> Option<Step> {
        if !instance.is_proven() || instance.suspended {
            return Some(Step::Terminate(instance.id, why));
        }
        self.drain(instance, why).unwrap_or(Some(Step::Terminate(instance.id, why)))
    }

    /// Puts the instance to sleep where it is; a daemon that was restarted meanwhile proves it first.
    pub(super) fn suspend(&mut self, mains: &[&InstanceFacts]) -> Option<Step> {
        if let Some(step) = self.end_trial(Why::Asleep) {
            return Some(step);
        }
        match mains {
            // It ended in its sleep: the next one is started when it is wanted.
            [] => None,
            [one] if one.suspended => None,
            [one] if !one.is_proven() => self.checks(one),
            [one] => self.drain(one, Why::Asleep).unwrap_or(Some(Step::Suspend(one.id))),
            [oldest, ..] => Some(Step::Terminate(oldest.id, Why::Surplus)),
        }
    }

    /// Lets no new request on an instance until nothing is on it; `None` once that is so, or its time is over.
    fn drain(&mut self, instance: &InstanceFacts, why: Why) -> Option<Option<Step>> {
        let Some(drain) = instance.drain.filter(|drain| drain.leave == Leave::Held) else {
            return Some(Some(Step::Hold(instance.id, why)));
        };
        if !drain.idle && self.now < drain.deadline {
            // Requests wait: a stream without an end of its own must not make them wait longer. Told again, because a request
            // may have become a stream since.
            match drain.cut_at {
                Some(at) if self.now < at + CUT_PAUSE => {
                    self.wait(drain.deadline.min(at + CUT_PAUSE));
                    return Some(None);
                }
                _ => return Some(Some(Step::Cut(instance.id))),
            }
        }
        None
    }
}
