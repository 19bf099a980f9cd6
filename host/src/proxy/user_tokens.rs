//! Backstage user tokens that were signed already: one signature per user and half hour, not one per request. Bounded; what
//! falls out is signed again.

use std::hash::{Hash, Hasher};

use http::HeaderValue;
use quick_cache::{Equivalent, sync::Cache};
use time::OffsetDateTime;

use crate::{
    directory::Entry,
    identity::{BackstageUser, SigningKeyError},
    ids::WorkspaceId,
};
use std::sync::Arc;

/// Users remembered, over all workspaces.
const MAX_USERS: usize = 20_000;
/// A token with less than this left is not given out: the browser app asks again five minutes before the end, and needs a
/// quarter of an hour at least. Seconds.
const LEAST_LEFT: i64 = 20 * 60;

/// Signed tokens, by workspace and user.
pub(super) struct UserTokens {
    minted: Cache<UserKey, Arc<Minted>>,
    /// Bearers of the browser app that were verified.
    seen: Cache<(WorkspaceId, Box<str>), Arc<Seen>>,
}

/// A token for a user.
pub(super) struct Minted {
    /// `Bearer <token>`, as it goes to the instance.
    pub header: HeaderValue,
    /// The token.
    pub token: String,
    expires_at: i64,
}

struct Seen {
    user: Arc<str>,
    expires_at: i64,
}

struct UserKey {
    workspace: WorkspaceId,
    user: BackstageUser,
}

struct UserRef<'a> {
    workspace: WorkspaceId,
    user: &'a BackstageUser,
}

impl Hash for UserKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        UserRef { workspace: self.workspace, user: &self.user }.hash(state);
    }
}
impl PartialEq for UserKey {
    fn eq(&self, other: &Self) -> bool {
        self.workspace == other.workspace && self.user == other.user
    }
}
impl Eq for UserKey {}
impl Hash for UserRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.workspace.hash(state);
        self.user.hash(state);
    }
}
impl Equivalent<UserKey> for UserRef<'_> {
    fn equivalent(&self, key: &UserKey) -> bool {
        self.workspace == key.workspace && *self.user == key.user
    }
}

impl UserTokens {
    /// None yet.
    pub fn new() -> Self {
        Self { minted: Cache::new(MAX_USERS), seen: Cache::new(MAX_USERS) }
    }

    /// A token of this workspace for this user, with at least [`LEAST_LEFT`] to live. A new ownership is a new token.
    pub fn mint(&self, entry: &Entry, user: &BackstageUser) -> Result<Arc<Minted>, SigningKeyError> {
        let now = OffsetDateTime::now_utc();
        if let Some(minted) = self.minted.get(&UserRef { workspace: entry.id, user })
            && minted.expires_at - now.unix_timestamp() >= LEAST_LEFT
        {
            return Ok(minted);
        }
        let signed = entry.signing.mint(user, now)?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", signed.token))
            .map_err(|_| SigningKeyError::Refused("not a header value"))?;
        header.set_sensitive(true);
        let minted = Arc::new(Minted { header, token: signed.token, expires_at: signed.expires_at });
        self.minted.insert(UserKey { workspace: entry.id, user: user.clone() }, minted.clone());
        Ok(minted)
    }

    /// The user of a bearer that we signed for this workspace, if it is one and lives.
    pub fn user_of(&self, entry: &Entry, bearer: &str) -> Option<Arc<str>> {
        let now = OffsetDateTime::now_utc();
        let key = (entry.id, Box::from(bearer));
        if let Some(seen) = self.seen.get(&key)
            && now.unix_timestamp() < seen.expires_at
        {
            return Some(seen.user.clone());
        }
        let user: Arc<str> = entry.signing.verify(bearer, now).ok()?.entity_ref.into();
        // Looked at again after a minute at the latest: its own end is not known here.
        let seen = Seen { user: user.clone(), expires_at: now.unix_timestamp() + 60 };
        self.seen.insert(key, Arc::new(seen));
        Some(user)
    }
}
