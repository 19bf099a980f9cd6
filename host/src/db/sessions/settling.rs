//! Changes whose end is found out.

use sqlx::AnyConnection;

use super::{End, Sessions, Turn, unsettled};
use crate::db::{RegistryError, RegistryErrorKind};

/// A change whose end is found out. Where its session breaks it is tried once more on the next one, still in the same turn. Where only one
/// session writes nobody has written since, so the second try can see whether the first one stands.
pub(in crate::db) struct Settling {
    pub(super) of: Sessions,
    pub(super) operation: &'static str,
    /// `None` while it is tried.
    pub(super) turn: Option<Turn>,
    pub(super) again: bool,
    /// No answer came to a COMMIT: it may stand.
    pub(super) lost: bool,
}

impl Settling {
    /// Whether this is the second try.
    pub(in crate::db) fn is_again(&self) -> bool {
        self.again
    }

    /// Tries; `None`: try again. [`RegistryError::Unsettled`]: it could not be found out in time.
    pub(in crate::db) async fn transaction<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, RegistryError>,
    ) -> Option<Result<T, RegistryError>> {
        let turn = self.turn.take()?;
        let outcome = match self.of.within(turn, self.operation, work).await {
            End::Known(outcome) => outcome,
            End::Broken { error, committing, turn } => {
                self.lost |= committing;
                if !self.again {
                    (self.again, self.turn) = (true, Some(turn));
                    return None;
                }
                Err(error)
            }
        };
        match outcome {
            Err(error) if self.lost && error.kind() != RegistryErrorKind::Conflict => {
                Some(Err(unsettled(self.operation, error)))
            }
            outcome => Some(outcome),
        }
    }
}
