//! Whose session a request belongs to.
//!
//! | bearer | cookie | the session is |
//! |---|---|---|
//! | – | – | none: 401 |
//! | issuer's token | – or the same | the bearer's |
//! | issuer's token | another | refused (400): two identities |
//! | – | issuer's token | the cookie's |
//! | Backstage token of ours | issuer's token | the cookie's, and its user must be the bearer's: this is the browser app |
//! | Backstage token of ours | – | none (401): a session that was ended must not live on in a script |
//!
//! The browser app's bearer is therefore no credential here: what counts is the session, judged again by the policies at
//! every request.

use std::sync::Arc;

use super::{credentials::Credentials, error::ProxyError, user_tokens::UserTokens, validate::Reject};
use crate::{
    authn::{Authenticator, AuthnRefusal, VerifiedToken},
    directory::Entry,
};

/// A verified session.
pub(super) struct Session {
    /// The issuer's token.
    pub token: Arc<VerifiedToken>,
    /// It came in a cookie, which browsers attach by themselves.
    pub by_cookie: bool,
    /// Who the authorizer must say it is.
    user: Option<Arc<str>>,
}

impl Session {
    /// Whether the policies' user is the one whom the browser app speaks for.
    pub fn is_of(&self, user: &str) -> bool {
        self.user.as_deref().is_none_or(|claimed| claimed == user)
    }
}

/// Finds the session. `entry` is `None` where there is no such workspace: an anonymous caller gets the same answer then.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    user_tokens: &UserTokens,
    entry: Option<&Entry>,
    credentials: &Credentials,
) -> Result<Session, ProxyError> {
    let (token, by_cookie, user) = match (credentials.bearer(), credentials.cookie()) {
        (None, None) => return Err(ProxyError::Unauthenticated(None)),
        (Some(bearer), None) => match authenticator.verify(bearer).await {
            Err(AuthnRefusal::Invalid(_))
                if entry.is_some_and(|entry| user_tokens.user_of(entry, bearer).is_some()) =>
            {
                return Err(ProxyError::Sessionless);
            }
            verified => (verified, false, None),
        },
        (None, Some(cookie)) => (authenticator.verify(cookie).await, true, None),
        (Some(bearer), Some(cookie)) if bearer == cookie => (authenticator.verify(bearer).await, false, None),
        (Some(bearer), Some(cookie)) => match entry.and_then(|entry| user_tokens.user_of(entry, bearer)) {
            Some(user) => (authenticator.verify(cookie).await, true, Some(user)),
            None => match authenticator.verify(bearer).await {
                Ok(_) => return Err(ProxyError::Rejected(Reject::Credentials)),
                refused => (refused, false, None),
            },
        },
    };
    match token {
        Ok(token) => Ok(Session { token, by_cookie, user }),
        Err(AuthnRefusal::Invalid(reason)) => Err(ProxyError::Unauthenticated(Some(reason))),
        Err(AuthnRefusal::KeysUnavailable) => Err(ProxyError::KeysUnavailable),
    }
}
