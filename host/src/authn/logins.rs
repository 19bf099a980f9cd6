//! One-time login codes: an operator makes a link, whoever opens it first gets the session. Codes are 256 random bits and
//! only their hash is kept, so neither a memory dump nor the time of a lookup gives one away.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};

use crate::ids::{Digest, WorkspaceId};

/// Codes that wait to be redeemed; past it the one that would end first is forgotten.
const MAX_CODES: usize = 1_000;
/// Longest life of a code.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Anything longer is no code of ours: it is not even hashed.
const MAX_CODE_BYTES: usize = 64;

/// One-time login codes.
#[derive(Default)]
pub struct Logins {
    waiting: Mutex<HashMap<Digest, Login>>,
}

struct Login {
    workspace: WorkspaceId,
    token: String,
    ends: Instant,
}

impl Logins {
    /// A code that [`Logins::redeem`] exchanges once for `token` within `lifetime` (at most a day), for this workspace
    /// only. Empty, and good for nothing, where the system has no randomness.
    pub fn issue(&self, workspace: WorkspaceId, token: String, lifetime: Duration) -> String {
        let mut raw = [0; 32];
        if aws_lc_rs::rand::fill(&mut raw).is_err() {
            return String::new();
        }
        let code = B64URL.encode(raw);
        let now = Instant::now();
        let mut waiting = self.lock();
        waiting.retain(|_, login| login.ends > now);
        if waiting.len() >= MAX_CODES
            && let Some(first) = waiting.iter().min_by_key(|(_, login)| login.ends).map(|(code, _)| *code)
        {
            waiting.remove(&first);
        }
        let ends = now + lifetime.min(MAX_LIFETIME);
        waiting.insert(Digest::of(code.as_bytes()), Login { workspace, token, ends });
        code
    }

    /// The token, once. A code tried on another workspace is not used up.
    pub fn redeem(&self, workspace: WorkspaceId, code: &str) -> Option<String> {
        if code.is_empty() || code.len() > MAX_CODE_BYTES {
            return None;
        }
        let hash = Digest::of(code.as_bytes());
        let mut waiting = self.lock();
        if waiting.get(&hash)?.workspace != workspace {
            return None;
        }
        let login = waiting.remove(&hash)?;
        (login.ends > Instant::now()).then_some(login.token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Login>> {
        // Every change is one map operation: a panic elsewhere leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_code_works_once_and_for_its_workspace_only() {
        let (logins, acme, globex) = (Logins::default(), WorkspaceId::generate(), WorkspaceId::generate());
        let code = logins.issue(acme, "token".into(), HOUR);
        assert_eq!(logins.redeem(globex, &code), None, "another workspace");
        assert_eq!(logins.redeem(acme, "wrong"), None);
        assert_eq!(logins.redeem(acme, &code).as_deref(), Some("token"));
        assert_eq!(logins.redeem(acme, &code), None, "used");
        let over = logins.issue(acme, "token".into(), Duration::ZERO);
        assert_eq!(logins.redeem(acme, &over), None, "over");
    }

    #[test]
    fn a_flood_of_codes_forgets_the_ones_that_end_first() {
        let (logins, acme) = (Logins::default(), WorkspaceId::generate());
        let soon = logins.issue(acme, "soon".into(), HOUR / 2);
        for _ in 0..MAX_CODES {
            logins.issue(acme, "token".into(), HOUR);
        }
        assert_eq!(logins.lock().len(), MAX_CODES);
        assert_eq!(logins.redeem(acme, &soon), None);
    }
}
