//! Listening sockets that a supervisor opened and keeps open across restarts (systemd's socket activation, sd_listen_fds(3)).

use std::net::TcpListener;

/// What `$LISTEN_FDS` hands to this process; empty without. Call it before any thread is started, once: it removes the variables.
///
/// # Errors
/// A descriptor is no TCP listener.
pub fn listeners() -> std::io::Result<Vec<TcpListener>> {
    let mut given = listenfd::ListenFd::from_env();
    let mut found = Vec::new();
    for index in 0..given.len() {
        found.extend(given.take_tcp_listener(index)?);
    }
    Ok(found)
}
