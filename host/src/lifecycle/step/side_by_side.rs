//! A rollout whose database takes two instances: blue serves or stands by, green comes up or serves.

use time::OffsetDateTime;

use super::{CUT_PAUSE, Look, MIN_PROBES, Step, Why};
use crate::lifecycle::facts::{InstanceFacts, Leave, ProcessFacts};

impl Look<'_> {
    pub(super) fn two(&mut self, blue: &InstanceFacts, green: &InstanceFacts) -> Option<Step> {
        if let Some(step) = self.end_trial(Why::Superseded) {
            return Some(step);
        }
        match green.process {
            ProcessFacts::Serving { since, .. } => self.bake(blue, green, since),
            ProcessFacts::Starting { .. } | ProcessFacts::Gone => {
                if let Some(why) = self.facts.misfit(green) {
                    return Some(Step::Terminate(green.id, why));
                }
                if blue.drain.is_some() {
                    return Some(Step::Readmit(blue.id));
                }
                if self.facts.breaks(green, blue) {
                    return Some(Step::Terminate(green.id, Why::Harmful));
                }
                self.checks(blue).or_else(|| self.checks(green))
            }
        }
    }

    /// Green has the traffic, blue stands by.
    fn bake(&mut self, blue: &InstanceFacts, green: &InstanceFacts, since: OffsetDateTime) -> Option<Step> {
        if green.drain.is_some() {
            return Some(Step::Readmit(green.id));
        }
        if let ProcessFacts::Starting { probes, .. } = blue.process {
            // Found by a new daemon, which has proven green first: it gets its chance to stand by.
            let step = if probes < MIN_PROBES { self.checks(blue) } else { None };
            return step.or_else(|| (probes >= MIN_PROBES).then_some(Step::Terminate(blue.id, Why::Surplus)));
        }
        let Some(drain) = blue.drain.filter(|drain| drain.leave == Leave::Retired) else {
            return Some(Step::Retire(blue.id));
        };
        if let Some(step) = self.checks(green) {
            return Some(step);
        }
        if let Some(step) = self.look_after(blue) {
            return Some(step);
        }
        // A newer wish does not wait for the bake: green was better than nothing, and there is no third place.
        let superseded = self.facts.misfit(green).is_some();
        // A blue that fails since green runs is no place to return to: what it stands by for is over.
        let baked = self.now >= since + self.facts.bake || self.facts.no_way_back(blue, green);
        if baked && !superseded && self.facts.is_baking() {
            return Some(Step::Confirm);
        }
        if !baked {
            self.wait(since + self.facts.bake);
        }
        if !drain.idle {
            if self.now < drain.deadline {
                self.wait(drain.deadline);
                return None;
            }
            match drain.cut_at {
                None => return Some(Step::Cut(blue.id)),
                Some(at) if self.now < at + CUT_PAUSE => {
                    self.wait(at + CUT_PAUSE);
                    return None;
                }
                // Requests that are still on it have had their time.
                Some(_) => {}
            }
        }
        let why = if superseded { Why::Superseded } else { Why::Replaced };
        (baked || superseded).then_some(Step::Terminate(blue.id, why))
    }

    /// Whether a blue that stands by could serve. Whatever it says, it is not ended for that: there is green.
    fn look_after(&mut self, blue: &InstanceFacts) -> Option<Step> {
        let ProcessFacts::Serving { next_check, .. } = blue.process else { return None };
        if self.now >= next_check {
            return Some(Step::Probe(blue.id));
        }
        self.wait(next_check);
        None
    }
}
