//! Whether an instance fails since a newer one runs beside it on its database: a migration of the newer version that the older one
//! can't live with. Pure.
//!
//! What an instance answers is compared with what it answered just before, so that a plugin that always answers 500, or a service
//! that was down already, is nobody's fault. Two signs, either is enough: its users' requests, and the catalogue asked by
//! orbitd once a second.

use std::{collections::VecDeque, fmt};

use time::{Duration, OffsetDateTime};

use crate::directory::Tally;

/// Failed answers of users that can be a sign at all: fewer are an accident.
const MIN_FAILED: u64 = 10;
/// By how much the share of failed answers must have grown.
const MARGIN: f64 = 0.25;
/// Errors in a row of a catalogue that answered before.
const PROBES: u32 = 3;
/// Between two samples, and how many are kept: a minute is what "just before" means.
const SAMPLE: Duration = Duration::seconds(10);
const SAMPLES: usize = 6;

/// What an instance answered lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(VecDeque<(OffsetDateTime, Tally)>);

/// The time that an instance has had another one beside it.
#[derive(Debug, Clone)]
pub(super) struct Overlap {
    before: Tally,
    start: Tally,
    /// Errors of its catalogue in a row; `None` until it has answered well once.
    probes: Option<u32>,
}

/// What shows that it fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Harm {
    /// Its catalogue answers with errors, this often in a row.
    Catalogue(u32),
    /// Its users get errors.
    Answers { before: Tally, during: Tally },
}

// === impl Recent ===

impl Recent {
    /// Takes a sample, if it is time for one.
    pub fn sample(&mut self, tally: Tally, now: OffsetDateTime) {
        if self.0.back().is_some_and(|(at, _)| now < *at + SAMPLE) {
            return;
        }
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, tally));
    }

    /// What was answered since the oldest sample.
    fn until(&self, now: Tally) -> Tally {
        self.0.front().map_or(now, |(_, oldest)| now.since(*oldest))
    }
}

// === impl Overlap ===

impl Overlap {
    /// It begins now.
    pub fn begin(recent: &Recent, now: Tally) -> Self {
        Self { before: recent.until(now), start: now, probes: None }
    }

    /// Its catalogue was asked: did it answer well? Silence is neither, another rule is there for it.
    pub fn probed(&mut self, well: bool) {
        self.probes = match (well, self.probes) {
            (true, _) => Some(0),
            (false, Some(errors)) => Some(errors.saturating_add(1)),
            (false, None) => None,
        };
    }

    /// Whether it fails since then. `now`: all that it has answered.
    pub fn harm(&self, now: Tally) -> Option<Harm> {
        if let Some(errors) = self.probes.filter(|errors| *errors >= PROBES) {
            return Some(Harm::Catalogue(errors));
        }
        let (before, during) = (self.before, now.since(self.start));
        // Of one that had little to answer before it is not known how it was: as if one answer of two had failed.
        let was = (before.failed as f64 + 1.0) / (before.answers as f64 + 2.0);
        let is = during.failed as f64 / during.answers.max(1) as f64;
        (during.failed >= MIN_FAILED && is >= was + MARGIN).then_some(Harm::Answers { before, during })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(errors) => write!(f, "its catalogue answered with an error {errors} times in a row"),
            Self::Answers { before, during } => write!(
                f,
                "{} of its {} answers since then are errors (5xx), {} of {} in the minute before",
                during.failed, during.answers, before.failed, before.answers
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(answers: u64, failed: u64) -> Tally {
        Tally { answers, failed }
    }

    fn overlap(before: Tally) -> Overlap {
        Overlap { before, start: before, probes: None }
    }

    fn harmed(before: (u64, u64), during: (u64, u64)) -> bool {
        let overlap = overlap(tally(before.0, before.1));
        overlap.harm(tally(before.0 + during.0, before.1 + during.1)).is_some()
    }

    #[test]
    fn what_was_so_before_is_no_harm() {
        assert!(harmed((200, 0), (30, 12)));
        assert!(!harmed((200, 0), (12, 9)), "an accident");
        assert!(!harmed((200, 100), (200, 110)), "a plugin that always answers 500");
        assert!(!harmed((0, 0), (20, 12)), "nobody knows how it was");
        assert!(harmed((0, 0), (20, 18)), "but so much");
        assert!(!harmed((30, 30), (100, 100)), "it was down before");
    }

    #[test]
    fn a_catalogue_that_never_answered_well_says_nothing() {
        let mut overlap = overlap(Tally::default());
        let mut asked = |answers: &[bool]| {
            answers.iter().for_each(|well| overlap.probed(*well));
            overlap.harm(Tally::default())
        };
        assert_eq!(asked(&[false; 9]), None);
        assert_eq!(asked(&[true, false, false]), None);
        assert_eq!(asked(&[true, false, false, false]), Some(Harm::Catalogue(3)));
        assert_eq!(asked(&[true]), None, "it has recovered");
    }

    #[test]
    fn before_is_the_last_minute() {
        let (mut recent, t0) = (Recent::default(), OffsetDateTime::UNIX_EPOCH);
        for second in 0..600_u64 {
            // Failing for the first nine minutes, well in the last one.
            let failed = second.min(530);
            recent.sample(tally(second, failed), t0 + Duration::seconds(second.cast_signed()));
        }
        let before = Overlap::begin(&recent, tally(600, 530)).before;
        assert!((50..=60).contains(&before.answers) && before.failed == 0, "{before:?}");
    }

    proptest! {
        #[test]
        fn more_failures_never_look_better_and_no_worse_than_before_is_never_harm(
            before in (0..2_000u64, 0..2_000u64),
            during in (0..2_000u64, 0..2_000u64),
            more in 0..100u64,
        ) {
            let (before, during) = ((before.0 + before.1, before.1), (during.0 + during.1, during.1));
            let share = |(answers, failed): (u64, u64)| failed as f64 / answers.max(1) as f64;
            let is = harmed(before, during);
            prop_assert!(!is || share(during) > share(before) && during.1 >= MIN_FAILED);
            prop_assert!(!is || harmed(before, (during.0 + more, during.1 + more)), "more failures");
            prop_assert!(is || !harmed(before, (during.0 + more, during.1)), "more good answers");
            if before.0 >= 20 && before.1 == 0 && during.0 == during.1 && during.1 >= MIN_FAILED {
                prop_assert!(is, "all of it fails, and nothing did before");
            }
        }
    }
}
