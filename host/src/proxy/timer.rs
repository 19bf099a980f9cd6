//! Deadlines that are moved far more often than they are reached. Registering a tokio timer takes a lock shared by all
//! threads; moving one of these is a store, and the timer underneath is only touched when it rings (or must ring earlier).

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may be moved at each request. Polled by one task at a time.
pub(super) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
}

impl LazyTimer {
    /// A timer that was not armed yet.
    pub fn new() -> Self {
        Self { sleep: None, deadline: Instant::now() }
    }

    /// Moves the deadline.
    pub fn arm(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some(sleep) = &mut self.sleep
            && sleep.deadline() > deadline
        {
            sleep.as_mut().reset(deadline);
        }
    }

    /// Ready once the deadline is past.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.deadline);
        }
    }
}

/// hyper's timer for request heads, one per client connection: hyper makes a new sleep for every head, and all of them
/// share one [`LazyTimer`].
#[derive(Clone)]
pub(super) struct HeadTimer(Arc<Mutex<LazyTimer>>);

struct HeadSleep {
    timer: HeadTimer,
    deadline: Instant,
}

impl HeadTimer {
    /// For one connection.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(LazyTimer::new())))
    }
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadSleep { timer: self.clone(), deadline: Instant::now() + duration })
    }
    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadSleep { timer: self.clone(), deadline: deadline.into() })
    }
}

impl Future for HeadSleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        timer.arm(self.deadline);
        timer.poll(cx)
    }
}

impl hyper::rt::Sleep for HeadSleep {}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_deadline_that_moves_on_rings_at_its_last_place() {
        let (start, mut timer) = (Instant::now(), LazyTimer::new());
        let at = |ms| start + Duration::from_millis(ms);
        timer.arm(at(10));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        timer.arm(at(40));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!(Instant::now() >= at(40));
        timer.arm(at(3_600_000));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        timer.arm(at(60));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!((at(60)..at(3_600_000)).contains(&Instant::now()), "an earlier one rings earlier");
    }
}
