//! Who a request comes from: bearer tokens, cookies, one-time logins, verified against the issuers' keys.

use std::time::Duration;

use crate::ids::WorkspaceId;

/// One-time login codes.
#[derive(Default)]
pub struct Logins {}

impl Logins {
    /// A code that [`Logins::redeem`] exchanges once for `token` within `lifetime`, for this workspace only.
    pub fn issue(&self, _workspace: WorkspaceId, _token: String, _lifetime: Duration) -> String {
        String::new()
    }
    /// The token, once.
    pub fn redeem(&self, _workspace: WorkspaceId, _code: &str) -> Option<String> {
        None
    }
}
