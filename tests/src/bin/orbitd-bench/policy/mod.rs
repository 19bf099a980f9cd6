//! What policies cost: one decision, beside its peers, and a swap.

mod decisions;
mod envoy;
mod neighbour;
mod swaps;

pub use decisions::measure as decisions;
pub use swaps::measure as swaps;
