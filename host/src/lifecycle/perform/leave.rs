//! Instances that give up their requests, and end.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    crashpoint,
    db::InstanceState,
    ids::InstanceId,
    lifecycle::{
        facts::{Facts, Leave, Role},
        live::{Drain, Ending},
        reconcile::{Trouble, Work},
        step::Why,
    },
};

/// An instance that hangs while it starts, or has nothing to lose, does not listen to SIGTERM for long.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

impl Work<'_> {
    pub(super) fn hold(&mut self, id: InstanceId, why: Why, now: OffsetDateTime) {
        crashpoint!("hold.before");
        self.leave(id, Leave::Held, why, now);
        if !matches!(why, Why::Stopped | Why::Asleep) {
            self.live.held_since.get_or_insert(now);
        }
        self.event("Draining", format!("instance {id} gets no new requests: {}", why.as_str()));
    }

    pub(super) fn retire(&mut self, id: InstanceId, facts: &Facts, now: OffsetDateTime) {
        crashpoint!("retire.before");
        self.leave(id, Leave::Retired, Why::Replaced, now);
        self.shared.metrics.switched();
        let green = facts.serving().map_or_else(String::new, |green| green.id.to_string());
        let bake = facts.bake.whole_seconds();
        self.event("Switched", format!("requests go to instance {green}; instance {id} stands by for {bake} s"));
    }

    fn leave(&mut self, id: InstanceId, leave: Leave, why: Why, now: OffsetDateTime) {
        let limit = self.rollout_rules().drain_s.unwrap_or(self.shared.settings.instances.drain_timeout_s);
        let limit = Duration::from_secs(limit);
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        live.drain = Some(Drain { why, leave, deadline: now + limit, cut_at: None });
        let Some(upstream) = live.upstream.clone() else { return };
        let (shared, workspace) = (self.shared.clone(), self.id());
        tokio::spawn(async move {
            // A hint: whether it really is idle is read again, and the deadline is the controller's own.
            let _ = tokio::time::timeout(limit, upstream.idle()).await;
            shared.look_at(workspace);
        });
    }

    pub(super) fn readmit(&mut self, id: InstanceId) {
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        let Some(drain) = live.drain.take() else { return };
        if drain.leave == Leave::Held {
            self.live.held_since = None;
        }
        self.event("Readmitted", format!("requests go to instance {id} again"));
    }

    pub(super) fn cut(&mut self, id: InstanceId, now: OffsetDateTime) {
        crashpoint!("cut.before");
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        let Some(upstream) = &live.upstream else { return };
        let (streams, in_flight) = (upstream.streams(), upstream.in_flight());
        upstream.cut();
        let late = live.drain.as_ref().is_some_and(|drain| drain.leave == Leave::Retired);
        if let Some(drain) = &mut live.drain {
            drain.cut_at = Some(now);
        }
        self.shared.metrics.cut(streams);
        if streams > 0 || late {
            let text = format!("{streams} streams on instance {id} were told to end; {in_flight} requests are on it");
            self.event("Cut", text);
        }
    }

    pub(super) async fn terminate(&mut self, id: InstanceId, why: Why, now: OffsetDateTime) -> Result<(), Trouble> {
        crashpoint!("terminate.before");
        self.shared.registry.set_instance_state(id, InstanceState::Stopping, now).await?;
        let trial = self.instances.iter().any(|row| row.instance.id == id && self.role_of(row) == Role::Trial);
        if why == Why::Harmful {
            self.tell_harm(id);
        }
        let short = trial || matches!(why, Why::StartTimeout | Why::Refused | Why::Harmful);
        let patience = if short { SHORT_PATIENCE } else { self.shared.stop_timeout() };
        if let Some(live) = self.live.instances.get_mut(&id) {
            if let Some(upstream) = &live.upstream {
                upstream.cut();
            }
            if let Some(process) = &live.process {
                process.terminate();
            }
            live.permit = None;
            live.ending = Some(Ending { why, kill_at: now + patience, killed: false });
        }
        crashpoint!("terminate.after");
        Ok(())
    }

    pub(super) async fn kill(&mut self, id: InstanceId) {
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        if let Some(ending) = &mut live.ending {
            ending.killed = true;
        }
        if let Some(process) = live.process.clone() {
            process.kill().await;
        }
    }
}
