//! Who a user is to a workspace's Backstage. orbitd is Backstage's auth service (facts.md 1): it holds an ES256 key per
//! workspace that never enters the instance, signs user tokens with it, and answers JWKS and user info on the internal
//! listener. Keys rest sealed under the daemon's master key.

mod master_key;
mod ownership;
mod signing_key;

pub use master_key::{MasterKey, MasterKeyError, Sealed};
pub use signing_key::{BackstageUser, SigningKey, SigningKeyError, UserToken};
