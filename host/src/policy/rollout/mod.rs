//! How a new version of a policy comes into service, and how it leaves.
//!
//! ```text
//! [router.next] in the tier's file ─ shadow ─ canary ─▶ promoted ─▶ the file catches up
//!                                      │        │          │
//!                                      └────────┴──────────┴─▶ rolled back (by an operator, or its error budget is spent)
//! ```
//!
//! The tier's file says what should be; the [`Ledger`] holds what was decided about single *versions* (module, settings, limits) since:
//! promoted, rolled back. A verdict applies as long as the file still says what it said when the verdict was made, so a changed file always
//! wins, and a file in a repository that orbitd can't write is fine. The last versions that served are kept whole, by digest: going
//! back works after the file on disk was overwritten.

mod breaker;
mod ledger;
mod record;
mod shadow;
mod share;
mod trial;
mod window;

pub(super) use breaker::Breaker;
pub(super) use ledger::Ledger;
pub use ledger::RolloutEvent;
pub use record::{HeldBack, Serves, Why};
pub(super) use record::{Kept, Record, Refusal, Verdict, Which};
pub(super) use shadow::{Compared, Shadow, Worker};
pub use shadow::{Sample, ShadowStatus};
pub(super) use share::{Audience, Mode};
pub(super) use trial::{Budget, Rollback, Trial};
