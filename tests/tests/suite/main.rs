//! The integration tests: the real binary from outside. One program, because linking is what costs; a module per promise.
//!
//! Those with `backstage` in their path run the real Backstage and share one daemon, one after another; the others run the
//! echo stand-in, which shows bytes and faults that the real one can't be made to show.

mod alerts;
mod authoring;
mod backstage;
mod backups;
mod confinement;
mod crashpoints;
mod databases_faults;
mod decision_log;
mod distribution_of_policies;
mod faults;
mod fixtures;
mod floors;
mod front;
mod idempotency;
mod isolation;
mod languages;
mod lifecycle;
mod logs;
mod memory;
mod policies;
mod policy_rollout;
mod postgres;
mod registries;
mod rollouts;
mod sleep;
mod survival;
mod tokens;
mod upgrade;
mod wrong_input;
mod zoo;
