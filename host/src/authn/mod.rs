//! Who a request comes from: tokens verified against their issuers' keys, and one-time logins.
//!
//! Called by `proxy` (each request), by `api` (issues login codes) and by `app` (opens it).
//!
//! ```text
//! token ── cached? ──▶ still alive, same keys ──────────────────────────────▶ VerifiedToken      (about 100 ns)
//!            │ no
//!            ▼
//!        compact JWS, ≤ 16 KiB ─▶ `iss` picks the issuer ─▶ alg, typ, crit ─▶ key by kid ─▶ signature ─▶ claims
//!                                                                                │ unknown: one refetch per cooldown
//! ```
//!
//! Invariants: the issuer picks the key set, so a `kid` never reaches another issuer's keys; nothing in a token causes a
//! connection to an address that the settings don't name; JSON with a repeated name is refused at every depth; a remembered
//! token dies at its end, or at once when its issuer's keys change. What a client reads is the same for every bad token:
//! the [`Reason`] is for the log and the metric.
//!
//! The signature is checked by `aws-lc-rs` on keys parsed at load; JSON, header and claims are checked here, because what
//! JWT libraries leave open (array `iss`, unknown `crit`, any `typ`, a missing `aud`) is exactly what must be closed.

mod authenticator;
mod jws;
mod keyring;
mod keys;
mod logins;
mod strict_json;

pub use authenticator::{Authenticator, AuthnError, AuthnRefusal, MAX_TOKEN_BYTES, Reason, VerifiedToken};
pub use logins::Logins;
