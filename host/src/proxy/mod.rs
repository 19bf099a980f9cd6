//! The way of a request: from a client's socket to the instance of its workspace and back.
//!
//! Called by `app` (which opens it) and by clients. Reads `directory` and `policy`, writes neither.
//!
//! ```text
//! server ─▶ pipeline:  validate ─▶ authority ─▶ credentials ─▶ headers ─▶ session ─▶ decisions ─▶ hold ─▶ link ─▶ download
//!                          │           │             │                      │            │         │       │       │
//!                          └───────────┴─────────────┴──────── error ◀──────┴────────────┴─────────┴───────┘       └▶ pool
//! ```
//!
//! Invariants: what a policy judged is what the instance gets, byte for byte; nothing that a client says about itself reaches
//! an instance; a request of which a byte was written is never sent again; a request counts as being on the instance
//! exactly while it is; every wait, body and table has a limit.
//!
//! What a request costs, and what it does not (aim: design.md, section 7). One task serves a client's connection and drives
//! the instance's inside it (see `link`): no wake-up across threads, no channel between them. Timers are moved, not
//! registered (`timer`). Loads: one `ArcSwap` for the policy set, one for the directory, one
//! for the workspace's instance. Locks, none of them shared by all
//! requests for longer than a table lookup: the pool's shard (twice), the remembered tokens' shard. Allocations of ours: the request id, a host name copied for the log, a body's watch where there is a body.

mod authority;
mod body;
mod client_io;
mod credentials;
mod decisions;
mod download;
mod error;
mod frames;
mod headers;
mod hold;
mod link;
mod local;
mod metrics;
mod page;
mod path;
mod pipeline;
mod pool;
mod preview;
mod server;
mod session;
mod timer;
mod tunnel;
mod user_tokens;
mod validate;

#[cfg(test)]
mod end_to_end;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use self::{
    authority::Site, decisions::Decisions, hold::Hold, metrics::Metrics, pool::Pool, user_tokens::UserTokens,
    validate::Limits,
};
use crate::{
    authn::{Authenticator, Logins},
    directory::Directory,
    policy::Policies,
    settings::ProxySettings,
};

pub use preview::as_policies_see;

/// Log lines that requests may cause per second.
const LINES_PER_SECOND: u64 = 200;

/// The front. One per daemon; [`Proxy::serve`] runs it.
pub struct Proxy {
    site: Site,
    limits: Limits,
    header_timeout: Duration,
    idle: Duration,
    max_connections: usize,
    directory: Arc<Directory>,
    decisions: Decisions,
    authenticator: Arc<Authenticator>,
    logins: Arc<Logins>,
    user_tokens: UserTokens,
    pool: Arc<Pool>,
    hold: Hold,
    metrics: Metrics,
    request_ids: RequestIds,
    log_budget: LogBudget,
    /// Cancelled when the last connection is cut; ends the tunnels.
    end: CancellationToken,
}

/// What the front needs from the rest of the daemon.
pub struct ProxyParts {
    /// `[proxy]`.
    pub settings: ProxySettings,
    /// The port really bound; browsers use it unless the settings name another.
    pub bound_port: u16,
    /// Who serves what.
    pub directory: Arc<Directory>,
    /// What the tiers decide.
    pub policies: Arc<Policies>,
    /// Who is believed.
    pub authenticator: Arc<Authenticator>,
    /// One-time logins.
    pub logins: Arc<Logins>,
}

impl Proxy {
    /// Builds the front and registers its metrics. Opens nothing.
    pub fn new(parts: ProxyParts, registry: &mut Registry) -> Arc<Self> {
        let decisions = Decisions::Policies(parts.policies.clone());
        Self::build(parts, decisions, registry)
    }

    fn build(parts: ProxyParts, decisions: Decisions, registry: &mut Registry) -> Arc<Self> {
        let ProxyParts { settings, bound_port, directory, policies: _, authenticator, logins } = parts;
        let metrics = Metrics::register(registry);
        let hold_timeout = Duration::from_secs(settings.hold_timeout_s);
        let port = settings.public_port.unwrap_or(bound_port);
        Arc::new(Self {
            site: Site::new(&settings.base_domain, settings.public_scheme == "https", port),
            limits: Limits {
                header_bytes: settings.max_header_bytes,
                headers: settings.max_headers,
                body_bytes: settings.max_body_bytes,
            },
            header_timeout: Duration::from_secs(settings.header_timeout_s.max(1)),
            idle: Duration::from_secs(settings.idle_timeout_s.max(1)),
            max_connections: settings.max_connections.max(1),
            hold: Hold::new(directory.clone(), settings.max_held, hold_timeout, metrics.held.clone()),
            directory,
            decisions,
            authenticator,
            logins,
            user_tokens: UserTokens::new(),
            pool: Arc::default(),
            metrics,
            request_ids: RequestIds::new(),
            log_budget: LogBudget::new(),
            end: CancellationToken::new(),
        })
    }
}

/// Request ids: unique over daemons by a random prefix, within one by counting.
struct RequestIds {
    prefix: u64,
    counter: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { prefix: rand::random(), counter: AtomicU64::new(1) }
    }

    /// 16 hex digits, a dash, a number in hex.
    fn next(&self) -> HeaderValue {
        let mut text = String::with_capacity(33);
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        // Writing to a string can't fail.
        let _ = write!(text, "{:016x}-{number:x}", self.prefix);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// A limit on log lines that clients can cause: a flood of bad requests must not become a flood of text.
struct LogBudget {
    started: Instant,
    /// Second (upper half) and lines written in it (lower half).
    spent: AtomicU64,
}

impl LogBudget {
    fn new() -> Self {
        Self { started: Instant::now(), spent: AtomicU64::new(0) }
    }

    /// Whether one more line may be written.
    fn take(&self) -> bool {
        let second = self.started.elapsed().as_secs() << 32;
        let spent = self.spent.load(Ordering::Relaxed);
        if spent & !0xffff_ffff != second {
            // Two threads may both begin the second: one line more.
            self.spent.store(second | 1, Ordering::Relaxed);
            return true;
        }
        spent & 0xffff_ffff < LINES_PER_SECOND
            && self.spent.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff < LINES_PER_SECOND
    }
}
