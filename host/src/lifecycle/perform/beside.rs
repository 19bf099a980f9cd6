//! An instance that has another one beside it: asked more often, and compared with what it was before (`harm`).

use time::OffsetDateTime;

use crate::{
    db::InstanceRow,
    driver::{Process, probe},
    ids::InstanceId,
    lifecycle::{facts::Role, reconcile::Work},
};

impl Work<'_> {
    /// Another main is started: what serves is looked at from now on.
    pub(in crate::lifecycle) fn has_one_beside(&mut self, now: OffsetDateTime) {
        for live in self.live.instances.values_mut().filter(|live| live.upstream.is_some() && live.ending.is_none()) {
            live.sample(true, now);
            live.next_probe = now;
        }
    }

    /// Whether another main runs, or starts, beside this one.
    pub(super) fn beside(&self, id: InstanceId) -> bool {
        self.instances.iter().any(|row| {
            let live = self.live.instances.get(&row.instance.id);
            let runs = live.is_some_and(|live| live.ending.is_none() && live.exit().is_none());
            row.instance.id != id && runs && self.role_of(row) == Role::Main
        })
    }

    /// Asks the catalogue of an instance that has another one beside it. Only an answer counts, and an error only if the one that
    /// serves gives a better one: else it is the database's.
    pub(super) async fn ask_beside(&mut self, row: &InstanceRow, process: &dyn Process) {
        if !self.has_catalog(row).await {
            return;
        }
        let well = match catalogue_of(row, process).await {
            Ok(()) => true,
            Err(probe::ProbeError::Status { status, .. }) if status.is_server_error() => false,
            Err(_) => return,
        };
        let newer = self.instances.iter().find(|other| {
            let serves = self.live.instances.get(&other.instance.id).is_some_and(|live| live.upstream.is_some());
            other.instance.id > row.instance.id && serves && self.role_of(other) == Role::Main
        });
        if let Some(green) = newer.filter(|_| !well) {
            let process = self.live.instances.get(&green.instance.id).and_then(|live| live.process.clone());
            match process {
                Some(process) if catalogue_of(green, process.as_ref()).await.is_ok() => {}
                _ => return,
            }
        }
        if let Some(overlap) = self.live.instances.get_mut(&row.instance.id).and_then(|live| live.overlap.as_mut()) {
            overlap.probed(well);
        }
    }

    /// Before a green is ended because of it: what is said of it then.
    pub(super) fn tell_harm(&mut self, green: InstanceId) {
        let harmed = self.live.instances.iter().find_map(|(id, live)| Some((*id, live.harm()?)));
        if let (Some((blue, harm)), Some(live)) = (harmed, self.live.instances.get_mut(&green)) {
            live.refused = Some(format!("instance {blue}, which serves, fails since it runs beside it: {harm}"));
        }
    }
}

async fn catalogue_of(row: &InstanceRow, process: &dyn Process) -> Result<(), probe::ProbeError> {
    let token = probe::derived(&row.instance.boot_secret, "probe");
    probe::catalog(&process.door(), &token).await
}
