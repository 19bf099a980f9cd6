//! The integration tests: the real binary from outside. One program, because linking is what costs; a module per promise.
//!
//! Those with `backstage` in their path run the real Backstage and share one daemon, one after another; the others run the
//! echo stand-in, which shows bytes and faults that the real one can't be made to show.

mod authoring;
mod backstage;
mod crashpoints;
mod fixtures;
mod floors;
mod front;
mod isolation;
mod lifecycle;
mod policies;
mod rollouts;
mod tokens;
mod wrong_input;
