//! Tells people and the service supervisor how far the daemon is: one line on stdout, and sd_notify(3).

use std::{
    env,
    io::{self, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net},
    },
    time::Duration,
};

use serde_json::json;

use super::listeners::Addresses;
use crate::settings::Settings;

/// The ready line: for a person, or as one JSON object.
pub fn announce(settings: &Settings, addresses: &Addresses, took: Duration, as_json: bool) {
    let token_file = settings.data_dir.join("admin.token");
    let port = settings.proxy.public_port.unwrap_or(addresses.proxy.port());
    let workspaces = format!("{}://<workspace>.{}:{port}", settings.proxy.public_scheme, settings.proxy.base_domain);
    let admin = format!("http://{}", addresses.admin);
    let line = if as_json {
        json!({
            "ready": true, "workspaces": workspaces, "admin_url": admin, "admin_token_file": token_file,
            "proxy_address": addresses.proxy, "internal_address": addresses.internal, "pid": std::process::id(),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
        .to_string()
    } else {
        format!(
            "orbitd is ready after {:.1} s: workspaces at {workspaces}, admin at {admin} (token in {})",
            took.as_secs_f64(),
            token_file.display()
        )
    };
    // A closed stdout is no reason to stop.
    let _ = writeln!(io::stdout().lock(), "{line}");
    notify("READY=1");
}

/// sd_notify(3): one datagram to `$NOTIFY_SOCKET`, where a supervisor set it. Failures don't matter to the daemon.
pub fn notify(state: &str) {
    let Some(target) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match target.as_bytes() {
        // `@name` is Linux' abstract namespace.
        [b'@', name @ ..] => net::SocketAddr::from_abstract_name(name),
        _ => net::SocketAddr::from_pathname(&target),
    };
    let sent = address.and_then(|address| net::UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET was not told {state}");
    }
}
