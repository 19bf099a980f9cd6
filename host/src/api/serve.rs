//! Serves a router on a listener with limits on everything a peer can hold: connections, head size, head time. For the
//! admin and the internal listener; users come in through `proxy`.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Open connections; past it new ones wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 512;
/// For a whole request head, and so also for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request head; past it 431. User tokens may take 16 KiB.
const MAX_HEAD: usize = 48 << 10;
/// Header fields; past it 431.
const MAX_FIELDS: usize = 64;
/// For requests under way when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors): some may come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `cancel`; then open requests get 5 s to finish. Returns when every connection is closed.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    // Ends the connections that the grace was not enough for.
    let hang_up = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            // Cancel-safe: a place that is not used is given back, a connection not taken stays in the queue.
            accepted = accept(&listener, &places) => accepted,
            () = cancel.cancelled() => break,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections.spawn(connection(stream, place, router.clone(), cancel.clone(), hang_up.clone()));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        hang_up.cancel();
        connections.wait().await;
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _peer)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    router: Router,
    cancel: CancellationToken,
    hang_up: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // A broken connection is the peer's business. Losing the race only means that a stop was asked for.
        _ = connection.as_mut() => return,
        () = cancel.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection.as_mut() => {}
        () = hang_up.cancelled() => {}
    }
}
