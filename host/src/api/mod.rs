//! The admin API and the internal listener. `app` makes an [`ApiState`], binds the listeners and runs [`serve`] on
//! each.
//!
//! An admin request passes, outside in ([`guard`]): request id and problem rendering → host check → bearer → deadline →
//! its key, if it has one ([`idempotency`]) → route. Everything is closed unless `guard` names it open. Problems are made anywhere and written in one place
//! ([`error`]). Changes run in tasks of their own, so a client that hangs up leaves nothing half done.
//!
//! There is no CORS: browsers of other origins get no answer they could read, and the host check keeps a name that was
//! rebound to a loopback address out.

mod backups;
mod decisions;
mod error;
mod events;
mod extract;
mod follow;
mod guard;
mod health;
mod idempotency;
mod internal;
mod logins;
mod logs;
mod openapi;
mod policies;
mod revisions;
mod serve;
mod sleep;
mod token;
mod upgrade;
mod wait;
mod workspaces;

pub use error::Problem;
pub use internal::internal_router;
pub use serve::serve;
pub use token::{AdminToken, AdminTokenError};
pub use upgrade::{UpgradeHandle, UpgradeRequest, Upgrades};

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    authn::{Authenticator, Logins},
    lifecycle::Workspaces,
    policy::Policies,
    settings::ProxySettings,
};

/// Bytes of a body; past it 413.
const MAX_BODY: usize = 1 << 20;
/// The same where catalogue files may be in it.
const MAX_CATALOG_BODY: usize = 16 << 20;
/// Requests that may wait (`?wait=`) or follow events at the same time; past it 503.
const MAX_WAITING: usize = 64;

/// What the admin API speaks for.
pub struct ApiState {
    /// All workspaces.
    pub workspaces: Workspaces,
    /// One-time logins.
    pub logins: Arc<Logins>,
    /// Judges the tokens that links are made for.
    pub authenticator: Arc<Authenticator>,
    /// The policies.
    pub policies: Arc<Policies>,
    /// What `/metrics` shows. Everybody registers while starting; from here on it is only read.
    pub metrics: Arc<Registry>,
    /// Who may.
    pub token: AdminToken,
    /// Set once all is loaded: `/readyz`.
    pub ready: Arc<AtomicBool>,
    /// For public URLs.
    pub proxy: ProxySettings,
    /// The port that the proxy is really bound to.
    pub proxy_port: u16,
    /// `settings.admin.hosts`.
    pub hosts: Vec<String>,
    /// Asks for an upgrade.
    pub upgrade: UpgradeHandle,
    /// Ends waits and event streams.
    pub shutdown: CancellationToken,
}

/// What handlers share.
struct Shared {
    state: ApiState,
    waiting: Arc<Semaphore>,
    under_way: idempotency::UnderWay,
}

impl Deref for Shared {
    type Target = ApiState;
    fn deref(&self) -> &ApiState {
        &self.state
    }
}

type App = Arc<Shared>;

/// The whole admin API.
pub fn admin_router(state: ApiState) -> Router {
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    let app: App = Arc::new(Shared { state, waiting, under_way: Default::default() });
    let large = || DefaultBodyLimit::max(MAX_CATALOG_BODY);
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/workspaces", get(workspaces::list).merge(post(workspaces::create).layer(large())))
        .route(
            "/v1/workspaces/{slug}",
            get(workspaces::get)
                .delete(workspaces::delete)
                .merge(axum::routing::patch(workspaces::patch).layer(large())),
        )
        .route("/v1/workspaces/{slug}/restart", post(workspaces::restart))
        .route("/v1/workspaces/{slug}/rotate-password", post(workspaces::rotate_password))
        .route("/v1/workspaces/{slug}/backup", post(backups::create))
        .route("/v1/workspaces/{slug}/restore", post(backups::restore))
        .route("/v1/backups", get(backups::list))
        .route("/v1/backups/{slug}/{backup}", axum::routing::delete(backups::delete))
        .route("/v1/backups/{slug}/{backup}/verify", post(backups::verify))
        .route("/v1/kept-databases", get(backups::kept))
        .route("/v1/kept-databases/{database}", axum::routing::delete(backups::drop_kept))
        .route("/v1/workspaces/{slug}/rollout", post(revisions::rollout))
        .route("/v1/workspaces/{slug}/rollback", post(revisions::rollback))
        .route("/v1/workspaces/{slug}/revisions", get(revisions::list))
        .route("/v1/workspaces/{slug}/revisions/{revision}", get(revisions::get))
        .route("/v1/workspaces/{slug}/wake", post(sleep::wake))
        .route("/v1/workspaces/{slug}/suspend", post(sleep::suspend))
        .route("/v1/workspaces/{slug}/sleep", post(sleep::sleep))
        .route("/v1/workspaces/{slug}/stop", post(sleep::stop))
        .route("/v1/workspaces/{slug}/events", get(events::events))
        .route("/v1/workspaces/{slug}/logs", get(logs::logs))
        .route("/v1/workspaces/{slug}/login-links", post(logins::create))
        .route("/v1/daemon", get(upgrade::about))
        .route("/v1/daemon/upgrade", post(upgrade::upgrade))
        .route("/v1/policies", get(policies::status))
        .route("/v1/policies/reload", post(policies::reload))
        .route("/v1/policies/decisions", get(decisions::decisions))
        .route("/v1/policies/{tier}/{binding}/promote", post(policies::promote))
        .route("/v1/policies/{tier}/{binding}/rollback", post(policies::rollback))
        .route("/v1/policies/{tier}/{binding}/resume", post(policies::resume))
        .route("/v1/policies/explain", post(policies::explain))
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(from_fn(guard::deadline))
        .layer(from_fn_with_state(app.clone(), guard::bearer))
        .layer(from_fn_with_state(app.clone(), guard::host))
        .layer(from_fn(guard::identify))
        .with_state(app)
}

#[cfg(test)]
mod tests;
