//! The wire: what the front refuses, what reaches an instance, what comes back from a hostile one.

mod flow;
mod origin;
mod rows;
mod upgrade;
mod validation;
