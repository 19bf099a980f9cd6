//! The daemon that comes.

use std::{io, net::TcpListener};

use anyhow::Context;

use super::{GO_DEADLINE, Word, channel};

/// Time for the listeners to arrive: they are sent before anything else.
const LISTENERS_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// A takeover under way. The channel is standard input.
pub struct Takeover(());

impl Takeover {
    /// Takes the listeners.
    ///
    /// # Errors
    /// Nobody hands anything over: the flag is for `orbitd upgrade` alone.
    pub fn begin() -> anyhow::Result<(Self, Vec<TcpListener>)> {
        let given = channel::hear(io::stdin(), Word::Listeners, LISTENERS_DEADLINE);
        let given = given.context("no daemon hands over to this one; --takeover is what `orbitd upgrade` starts")?;
        Ok((Self(()), given.into_iter().map(TcpListener::from).collect()))
    }

    /// Says that everything that can be done beside the other daemon is done, and waits until that one has let go.
    ///
    /// # Errors
    /// It did not, and serves on.
    pub async fn prepared(&self) -> anyhow::Result<()> {
        let waited = tokio::task::spawn_blocking(|| {
            channel::say(io::stdin(), Word::Prepared, &[])?;
            channel::hear(io::stdin(), Word::Go, GO_DEADLINE)
        });
        waited.await.context("waiting")?.context("the daemon that hands over changed its mind")?;
        Ok(())
    }

    /// Says that this one serves.
    pub fn serving(self) {
        if let Err(error) = channel::say(io::stdin(), Word::Serving, &[]) {
            tracing::warn!(%error, "the daemon before this one could not be told that this one serves");
        }
    }
}
