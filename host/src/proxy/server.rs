//! Accepts clients and serves their connections, until told to stop.
//!
//! One task per client connection; it drives the client's HTTP, the pipeline and the connection to the instance. Past
//! `max_connections` nothing is accepted: the kernel's queue holds the rest.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Proxy,
    client_io::ClientIo,
    metrics::Counted,
    pipeline::{Peer, answer},
    timer::HeadTimer,
};

/// Longest time that requests under way get to finish after the cancellation.
const DRAIN: Duration = Duration::from_secs(20);
/// Rest after an accept that failed for want of file descriptors, so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// After the cancellation, for the first request of a connection that was accepted: hyper closes one that it finds idle, and its
/// client, which has just connected, would get no answer.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Tells all connections that no further request is wanted.
#[derive(Default)]
struct Stop {
    flag: AtomicBool,
    notify: Notify,
}

impl Proxy {
    /// Serves until `cancel`, then finishes what is under way, at most 20 s; WebSockets and streams are cut at the end. All
    /// connections are closed when it returns. Call it once.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, cancel: CancellationToken) {
        let stop = Arc::new(Stop::default());
        let places = Arc::new(Semaphore::new(self.max_connections));
        let builder = self.builder();
        let mut connections = JoinSet::new();
        let mut sweep = interval(Duration::from_secs(1));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel-safe, all arms: a permit that is not used goes back, a connection that was not accepted stays in the queue.
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = sweep.tick() => self.pool.sweep(),
                Some(_) = connections.join_next() => {}
                accepted = accept(&listener, &places) => match accepted {
                    Ok((stream, permit)) => {
                        connections.spawn(connection(self.clone(), builder.clone(), stream, permit, stop.clone()));
                    }
                    Err(error) => {
                        if self.log_budget.take() {
                            tracing::warn!(%error, "cannot accept a connection");
                        }
                        sleep(ACCEPT_REST).await;
                    }
                }
            }
        }
        drop(listener);
        stop.flag.store(true, Ordering::Release);
        stop.notify.notify_waiters();
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
        if !connections.is_empty() {
            tracing::warn!(open = connections.len(), "cutting connections that did not finish in time");
        }
        self.end.cancel();
        connections.shutdown().await;
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .half_close(true)
            .header_read_timeout(self.header_timeout)
            // Room to see what is too large and to say so in a problem document.
            .max_buf_size((self.limits.header_bytes * 2).max(64 << 10));
        if self.limits.headers > 100 {
            builder.max_headers(self.limits.headers + 1);
        }
        builder
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    proxy: Arc<Proxy>,
    mut builder: http1::Builder,
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    stop: Arc<Stop>,
) {
    let _counted = Counted::new(&proxy.metrics.connections);
    let Ok(address) = stream.peer_addr() else { return };
    let Ok(forwarded_for) = HeaderValue::try_from(address.ip().to_canonical().to_string()) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let peer = Arc::new(Peer { forwarded_for });
    let io = ClientIo::new(stream, proxy.idle);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (proxy, asked) = (proxy.clone(), asked.clone());
        move |request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (proxy, peer) = (proxy.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(&proxy, &peer, request).await) }
        }
    });
    let mut served = pin!(builder.timer(HeadTimer::new()).serve_connection(io, service).with_upgrades());
    let mut stopped = pin!(stop.notify.notified());
    // Registers for the wake-up, before the flag is first read.
    let mut armed = false;
    let mut closing = false;
    let mut patience = None;
    let outcome = poll_fn(|cx| {
        if !armed {
            armed = true;
            let _ = stopped.as_mut().poll(cx);
        }
        // First, because it reads what has come.
        let ended = served.as_mut().poll(cx);
        if ended.is_pending() && !closing && stop.flag.load(Ordering::Acquire) {
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(FIRST_REQUEST)));
            if asked.load(Ordering::Relaxed) || patience.as_mut().poll(cx).is_ready() {
                closing = true;
                served.as_mut().graceful_shutdown();
                return served.as_mut().poll(cx);
            }
        }
        ended
    })
    .await;
    if let Err(error) = outcome {
        if error.is_parse() {
            proxy.metrics.unparsable.inc();
        }
        if proxy.log_budget.take() {
            tracing::debug!(peer = %address, %error, "client connection ended");
        }
    }
}
