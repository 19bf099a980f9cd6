//! The door of an instance: a unix socket in its own run directory. The proxy and the probes come in here and nowhere else.
//!
//! Why not a port: anybody on the machine can connect to a loopback port, and can be the next to listen on one. A socket in a
//! directory that only the instance's user may enter keeps the other instances out, and the kernel says of each
//! connection which process took the socket into use (`SO_PEERCRED`): nothing is sent before that is the one we hold.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;

/// The socket's name in the run directory. Short, and used relative to the directory: a socket's path may have 107 bytes at most.
pub const SOCKET: &str = "http.sock";
/// Between two tries while the instance's accept queue is full; who connects sets the deadline.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// Where one process is reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// The run directory, held open: whatever is renamed or linked later, this stays the one. `None`: it was gone already.
    run: Option<OwnedFd>,
    pid: u32,
}

impl Door {
    /// The door of process `pid` in its run directory, which is opened now. The socket itself may come later.
    pub fn new(run: &Path, pid: u32) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self(Arc::new(Held { run: rustix::fs::open(run, flags, Mode::empty()).ok(), pid }))
    }

    /// A new connection to exactly this process. No limit of its own: wrap it in a deadline. Cancel-safe.
    ///
    /// # Errors
    /// Nobody listens, or another process does (which then has got nothing).
    pub async fn connect(&self) -> io::Result<UnixStream> {
        let run = self.0.run.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", run.as_raw_fd());
        let stream = loop {
            match UnixStream::connect(&path).await {
                // Unlike TCP, a full queue refuses at once.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_PAUSE).await,
                other => break other?,
            }
        };
        match stream.peer_cred()?.pid() {
            Some(pid) if u32::try_from(pid) == Ok(self.0.pid) => Ok(stream),
            _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "another process listens on its socket")),
        }
    }
}

impl PartialEq for Door {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Door {}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn only_the_process_that_is_meant_is_talked_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let mine = Door::new(dir.path(), std::process::id());
        assert_eq!(mine.connect().await.expect_err("nobody listens").kind(), io::ErrorKind::NotFound);
        let _listener = UnixListener::bind(dir.path().join(SOCKET)).expect("bound");
        mine.connect().await.expect("it is this process");
        let other = Door::new(dir.path(), std::process::id() + 1);
        let refused = other.connect().await.expect_err("it is not that process");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
        let gone = Door::new(&dir.path().join("gone"), std::process::id());
        assert!(gone.connect().await.is_err());
    }

    #[tokio::test]
    async fn a_link_planted_over_the_socket_leads_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mine, theirs) = (dir.path().join("mine"), dir.path().join("theirs"));
        for path in [&mine, &theirs] {
            std::fs::create_dir(path).expect("made");
        }
        let mut sibling = std::process::Command::new("sleep").arg("9").spawn().expect("sleep runs");
        let door = Door::new(&mine, sibling.id());
        let _theirs = UnixListener::bind(theirs.join(SOCKET)).expect("bound");
        std::os::unix::fs::symlink(theirs.join(SOCKET), mine.join(SOCKET)).expect("linked");
        assert_eq!(door.connect().await.expect_err("not the one").kind(), io::ErrorKind::PermissionDenied);
        sibling.kill().and_then(|()| sibling.wait()).expect("ended");
    }

    #[tokio::test]
    async fn a_directory_that_moves_stays_the_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        std::fs::create_dir(&before).expect("made");
        let door = Door::new(&before, std::process::id());
        let _listener = UnixListener::bind(before.join(SOCKET)).expect("bound");
        std::fs::rename(&before, &after).expect("moved");
        door.connect().await.expect("still there");
    }
}
