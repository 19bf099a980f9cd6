//! Changes that a client may send again: see [`crate::db::Operation`].

use time::OffsetDateTime;

use super::{LifecycleError, Workspaces};
use crate::{
    db::{Begun, Reply},
    ids::Digest,
};

impl Workspaces {
    /// Begins the operation of a key, or finds it. Each key must be asked for once at a time.
    pub async fn begin_operation(&self, key: Digest, request: Digest) -> Result<Begun, LifecycleError> {
        Ok(self.shared.registry.begin_operation(key, request, OffsetDateTime::now_utc()).await?)
    }

    /// Notes how it ended: done with this answer, or refused (`None`).
    pub async fn end_operation(&self, key: Digest, reply: Option<&Reply>) -> Result<(), LifecycleError> {
        match reply {
            Some(reply) => self.shared.registry.finish_operation(key, reply).await?,
            None => self.shared.registry.forget_operation(key).await?,
        }
        Ok(())
    }
}
