//! Hands the running daemon over to another program, with its doors open all the time: `orbitd upgrade`.
//!
//! ```text
//! predecessor                                         successor (orbitd serve --takeover; standard input is the channel)
//! start it, send it the three listeners ───────────▶  settings, distribution, policies (compiled), source: all that can fail
//!                        ◀──────────────── prepared
//! stop accepting; source and controller stop;
//! registry closed, data directory let go
//! go ──────────────────────────────────────────────▶  data directory, registry, instances adopted, serves
//!                        ◀──────────────── serving
//! requests under way finish; it ends
//! ```
//!
//! From "stop accepting" to "serving" new connections wait in the kernel's queue: none is refused, because the listening sockets never
//! close. A successor that fails before *go* changes nothing. One that fails after it is ended, and the predecessor's own program takes
//! its place by the same way.

mod channel;
mod predecessor;
mod successor;

pub use predecessor::{Successor, prepare, take_back};
pub use successor::Takeover;

use std::time::Duration;

/// For everything that a successor does before it has said `prepared`: compiling all policies anew takes seconds.
const PREPARE_DEADLINE: Duration = Duration::from_secs(120);
/// From *go* to `serving`.
const SERVE_DEADLINE: Duration = Duration::from_secs(30);
/// What a successor waits for its predecessor to let go: reconciles under way finish first.
const GO_DEADLINE: Duration = Duration::from_secs(120);

/// What the two say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Listeners,
    Prepared,
    Go,
    Serving,
}

impl Word {
    const ALL: [Self; 4] = [Self::Listeners, Self::Prepared, Self::Go, Self::Serving];

    fn text(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Prepared => "prepared",
            Self::Go => "go",
            Self::Serving => "serving",
        }
    }
}
