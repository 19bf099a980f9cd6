//! Daemons that several tests share. They end with the test program (see `orbitd_tests::daemon`).

use std::net::SocketAddr;

use orbitd_tests::{Daemon, Setup};
use tokio::sync::OnceCell;

/// The workspaces of [`echo`].
pub const ECHO_WORKSPACES: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

/// A daemon with four echo workspaces that no test changes.
pub async fn echo() -> &'static Daemon {
    static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
    DAEMON
        .get_or_init(|| {
            let setup = ECHO_WORKSPACES.iter().fold(Setup::echo(), |setup, slug| {
                let tier = if *slug == "acme" { "pro" } else { "free" };
                setup.workspace(slug, &format!("tier = \"{tier}\"\n"), &[])
            });
            setup.start()
        })
        .await
}

/// Where the echo instance of a workspace listens itself: for asking what reached it.
pub async fn instance_address(daemon: &Daemon, slug: &str) -> SocketAddr {
    let account = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await.expect(200).json();
    let port = account["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The boot id of the echo instance that answers now.
pub async fn boot_id(daemon: &Daemon, slug: &str) -> String {
    let account = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await.expect(200).json();
    account["boot_id"].as_str().expect("a boot id").to_owned()
}
