//! A network that fails on purpose: a TCP proxy between a client and a server, told while it runs what to do to them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What becomes of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// New connections are closed at once, those that are there are cut.
    Down,
    /// Nothing passes any more, and nothing is closed: a cable that was pulled.
    Silent,
    /// Every chunk waits this long, both ways.
    Slow(Duration),
    /// Once: what a client sends with the bytes `to` in it reaches the server; when the server has answered, both are cut, and the answer is
    /// lost. Then all is well again, unless [`Proxy::then`] says otherwise.
    LoseAnswer {
        /// Only on a connection that has sent these before; empty: on any.
        after: Vec<u8>,
        /// What it must contain.
        to: Vec<u8>,
    },
    /// The client gets `answer` for what it sends with one of these in it, and the server hears nothing of that.
    Answer {
        /// What it must contain.
        to: Vec<&'static [u8]>,
        /// Sent back, as it is.
        answer: Vec<u8>,
    },
}

/// The proxy; its connections end with it.
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    fault: watch::Sender<Fault>,
    cuts: watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    accepted: AtomicUsize,
    hits: AtomicUsize,
    next: Mutex<Fault>,
}

impl Proxy {
    /// One before `server`.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server,
            accepted: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
            next: Mutex::new(Fault::None),
        });
        let (fault, cuts) = (watch::Sender::new(Fault::None), watch::Sender::new(()));
        let task = tokio::spawn(accept(listener, shared.clone(), fault.clone(), cuts.clone()));
        Self { address, shared, fault, cuts, task }
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// What comes after the next [`Fault::LoseAnswer`].
    pub fn then(&self, fault: Fault) {
        *self.shared.next() = fault;
    }

    /// Cuts every connection; new ones pass.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Connections that were tried so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How often [`Fault::LoseAnswer`] and [`Fault::Answer`] met what they wait for.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn next(&self) -> MutexGuard<'_, Fault> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.fault.send_replace(Fault::Down);
        self.task.abort();
    }
}

/// PostgreSQL's answer to a statement outside a transaction that fails with this SQLSTATE (its manual, "Message Formats").
pub fn postgres_error(code: &str, message: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{code}\0M{message}\0\0");
    let mut answer = vec![b'E'];
    answer.extend(u32::try_from(fields.len() + 4).expect("short").to_be_bytes());
    answer.extend(fields.as_bytes());
    // Ready, idle.
    answer.extend([b'Z', 0, 0, 0, 5, b'I']);
    answer
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, fault: watch::Sender<Fault>, cuts: watch::Sender<()>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        if *fault.borrow() != Fault::Down {
            let (shared, fault, mut cut) = (shared.clone(), fault.clone(), cuts.subscribe());
            tokio::spawn(async move {
                // Whichever ends it is seen at both ends; both arms may be dropped at any moment.
                tokio::select! {
                    _ = relay(client, &shared, &fault) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    }
}

async fn relay(client: TcpStream, shared: &Shared, fault: &watch::Sender<Fault>) -> io::Result<()> {
    let mut faults = fault.subscribe();
    let server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // What [`Fault::LoseAnswer`] comes after, once it was there.
    let mut begun = Vec::new();
    loop {
        tokio::select! {
            // Cancel-safe, all three: a read that was not ready took nothing.
            changed = faults.changed() => {
                if changed.is_err() || *faults.borrow_and_update() == Fault::Down {
                    return Ok(());
                }
            }
            read = from_client.read(&mut asked) => {
                let chunk = asked.get(..read?).unwrap_or_default();
                if !pass(chunk, &mut to_server, &mut faults).await? {
                    return Ok(());
                }
                let now = faults.borrow().clone();
                if let Fault::LoseAnswer { after, .. } = &now
                    && holds(chunk, after)
                {
                    begun.clone_from(after);
                }
                match now {
                    Fault::LoseAnswer { after, to } if begun == after && holds(chunk, &to) => {
                        to_server.write_all(chunk).await?;
                        let next = std::mem::replace(&mut *shared.next(), Fault::None);
                        fault.send_replace(next);
                        swallow(&mut from_server, &mut answered).await?;
                        shared.hits.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    Fault::Answer { to, answer } if to.iter().any(|wanted| holds(chunk, wanted)) => {
                        shared.hits.fetch_add(1, Ordering::Relaxed);
                        to_client.write_all(&answer).await?;
                    }
                    _ => to_server.write_all(chunk).await?,
                }
            }
            read = from_server.read(&mut answered) => {
                let chunk = answered.get(..read?).unwrap_or_default();
                if !pass(chunk, &mut to_client, &mut faults).await? {
                    return Ok(());
                }
                to_client.write_all(chunk).await?;
            }
        }
    }
}

/// Waits as long as the fault says; false: this direction is over, and with it the connection.
async fn pass(chunk: &[u8], to: &mut OwnedWriteHalf, faults: &mut watch::Receiver<Fault>) -> io::Result<bool> {
    if chunk.is_empty() {
        to.shutdown().await?;
        return Ok(false);
    }
    loop {
        let now = faults.borrow_and_update().clone();
        match now {
            Fault::Down => return Ok(false),
            Fault::Slow(wait) => tokio::time::sleep(wait).await,
            Fault::Silent => {
                if faults.changed().await.is_err() {
                    return Ok(false);
                }
                continue;
            }
            _ => {}
        }
        return Ok(true);
    }
}

/// Reads the beginning of an answer: the server has done its work.
async fn swallow(from: &mut OwnedReadHalf, buffer: &mut [u8]) -> io::Result<()> {
    from.read(buffer).await.map(|_| ())
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len().max(1)).any(|window| window == wanted)
}
