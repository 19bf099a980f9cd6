//! Starts an instance: row, copy of the database for a trial, files, process, record, start message, in this order.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{
    config::with_secret_files,
    database::Admission,
    facts::Role,
    host_config::HostConfig,
    live::LiveInstance,
    perform::Ended,
    reconcile::{Trouble, Work},
    secrets,
};
use crate::{
    crashpoint,
    db::{InstanceRow, InstanceState},
    driver::{Launch, probe},
    ids::{Digest, InstanceId},
    model::{Instance, ResourceRules, Revision},
    provisioner::{Access, Site},
};

impl Work<'_> {
    /// Starts an instance of a revision. What goes wrong on the way counts as a failed start.
    pub(super) async fn start(&mut self, digest: Digest, role: Role, now: OffsetDateTime) -> Result<(), Trouble> {
        // Taken by someone between the facts and here: the next look waits for its turn.
        let Some(permit) = self.shared.starting.take(self.id(), std::time::Instant::now()) else { return Ok(()) };
        let Some(revision) = self.shared.registry.revision(self.id(), digest).await? else {
            self.revision_is_gone(digest, now);
            return Ok(());
        };
        if let Err(cause) = self.back_up_before(&revision).await? {
            return self.failed_start(digest, role, cause, now).await;
        }
        let id = self.next_instance_id();
        let database = self.database_of(role, id);
        let (access, admission) = match self.admit(&database, revision.plugins.len(), now).await? {
            Admission::Granted(access, guard) => (access, guard),
            Admission::Wait => return Ok(()),
            Admission::Refused(cause) => return self.failed_start(digest, role, cause, now).await,
        };
        let (row, launch) = match self.plan(&revision, (id, role), database, access, now).await? {
            Ok(plan) => plan,
            Err(cause) => return self.failed_start(digest, role, cause, now).await,
        };
        self.shared.registry.insert_instance(&row).await?;
        drop(admission);
        crashpoint!("start.after-row");
        let launched = match self.lay_catalog(role, &revision).await {
            Ok(()) => self.copy_and_launch(&row, role, &launch, now).await,
            Err(trouble) => Err(trouble),
        };
        match launched {
            Ok(mut live) => {
                live.permit = Some(permit);
                self.shared.metrics.started();
                self.shared.starts.note(std::time::Instant::now());
                if role == Role::Main {
                    self.has_one_beside(now);
                }
                self.live.instances.insert(id, live);
                let place = match role {
                    Role::Main => "",
                    Role::Trial => ", on a copy of the database",
                };
                let text = format!("instance {id} of revision {} on port {}{place}", digest.short(), launch.port);
                self.event("Starting", text);
                Ok(())
            }
            Err(trouble) => {
                self.leave_nothing(&row).await?;
                match trouble {
                    Trouble::Step(cause) => self.failed_start(digest, role, cause, now).await,
                    registry => Err(registry),
                }
            }
        }
    }

    /// Larger than every one that the workspace knows of.
    pub(super) fn next_instance_id(&self) -> InstanceId {
        let before = self.progress.retiring.as_ref().map(|retiring| retiring.before);
        let known = self.instances.iter().map(|row| row.instance.id).chain(self.progress.tried).chain(before);
        InstanceId::generate_after(known.max())
    }

    /// A trial's has a name of its own, recorded in its row: by it a later daemon knows the trial, and removes the copy.
    fn database_of(&self, role: Role, id: InstanceId) -> String {
        let own = self.database().0;
        match role {
            Role::Main => own,
            Role::Trial => format!("{own}_try_{}", id.0.simple()),
        }
    }

    /// A start that did not even get as far as a process.
    async fn failed_start(
        &mut self,
        revision: Digest,
        role: Role,
        cause: String,
        now: OffsetDateTime,
    ) -> Result<(), Trouble> {
        let cause = format!("the instance can't be started: {cause}");
        self.failed(Ended { revision, role, was_serving: false, port_taken: false, harmful: false, cause }, now);
        self.save(None).await
    }

    async fn copy_and_launch(
        &mut self,
        row: &InstanceRow,
        role: Role,
        launch: &Launch,
        now: OffsetDateTime,
    ) -> Result<LiveInstance, Trouble> {
        if role == Role::Trial {
            let (own, home) = self.database();
            let site = Site { workspace: self.id(), database: &own, home: &home };
            crashpoint!("copy.before");
            let copied = self.shared.provisioner.copy(&site, &row.database_name).await;
            copied.map_err(|error| Trouble::Step(error.to_string()))?;
            crashpoint!("copy.after");
        }
        self.launch(launch, now).await
    }

    async fn launch(&mut self, launch: &Launch, now: OffsetDateTime) -> Result<LiveInstance, Trouble> {
        let failed = |error: crate::driver::DriverError| Trouble::Step(error.to_string());
        let driver = self.shared.driver.clone();
        driver.prepare(launch).await.map_err(failed)?;
        crashpoint!("start.after-prepare");
        let process = driver.spawn(launch).await.map_err(failed)?;
        crashpoint!("start.after-spawn");
        let identity = process.identity();
        let recorded = self
            .shared
            .registry
            .record_process(launch.id, identity.pid, identity.start_ticks, &identity.kernel_boot, now)
            .await;
        crashpoint!("start.after-record");
        // It waits for its start message and has done nothing yet.
        let released = match recorded {
            Ok(()) => process.release(launch).await.map_err(failed),
            Err(error) => Err(error.into()),
        };
        crashpoint!("start.after-release");
        if let Err(trouble) = released {
            process.kill().await;
            return Err(trouble);
        }
        let secret = probe::derived(&launch.boot_secret, "internal");
        if let Some(entry) = self.live.entries.first() {
            self.shared.internal_paths.insert(secret.clone(), entry.clone());
        }
        self.look_when_ended(process.clone());
        let mut live = LiveInstance::new(Some(process), false, secret, now);
        live.told = Some(self.look_when_reported(launch.id));
        Ok(live)
    }

    /// The row and everything that the driver needs; the inner error is the cause of a failed start.
    async fn plan(
        &self,
        revision: &Revision,
        (id, role): (InstanceId, Role),
        database_name: String,
        access: Access,
        now: OffsetDateTime,
    ) -> Result<Result<(InstanceRow, Launch), String>, Trouble> {
        let port = match self.shared.driver.reserve_warm(id) {
            Some(port) => port,
            None => match self.shared.free_port().await? {
                Ok(port) => port,
                Err(error) => return Ok(Err(error.to_string())),
            },
        };
        let mut secrets = match self.secrets_of(revision).await {
            Ok(secrets) => secrets,
            Err(cause) => return Ok(Err(cause)),
        };
        secrets.extend(access.secrets);
        let serde_json::Value::Object(rendered) =
            serde_json::from_str(&revision.app_config).unwrap_or(serde_json::Value::Null)
        else {
            return Ok(Err("its stored revision is malformed".to_owned()));
        };
        let slug = &self.workspace.slug;
        let home = self.shared.home(slug, self.workspace.id);
        let (catalog_dir, catalog) = match role {
            Role::Main => (Launch::catalog_dir(&home), BTreeMap::new()),
            Role::Trial => (Launch::trial_catalog_dir(&home, id), revision.catalog.clone()),
        };
        let boot_secret = hex::encode(rand::random::<[u8; 32]>());
        let host_config = HostConfig {
            public_url: &self.shared.public_url(slug),
            port,
            database: with_secret_files(&access.config, &|name| Launch::secret_file(&home, id, name)),
            internal_port: self.shared.internal_port,
            internal_secret: &probe::derived(&boot_secret, "internal"),
            probe_token: &probe::derived(&boot_secret, "probe"),
            catalog_dir: &catalog_dir,
            catalog_files: revision.catalog.keys().map(String::as_str).collect(),
        }
        .over(&rendered);
        let app_config =
            with_secret_files(&serde_json::Value::Object(rendered), &|name| Launch::secret_file(&home, id, name));
        let launch = Launch {
            home,
            workspace: slug.clone(),
            id,
            boot_secret: boot_secret.clone(),
            port,
            app_config: app_config.to_string(),
            host_config: host_config.to_string(),
            resources: self.resources(),
            plugins: revision.plugins.clone(),
            secrets,
            catalog,
        };
        let instance = Instance {
            id,
            workspace: self.workspace.id,
            revision: revision.digest,
            port,
            pid: None,
            start_ticks: None,
            boot_secret,
            restarts: self.workspace.spec.restarts,
            started_at: now,
        };
        let url = format!("http://127.0.0.1:{port}");
        let state = InstanceState::Starting;
        let row =
            InstanceRow { instance, url, database_name, connections: access.connections, state, kernel_boot: None };
        Ok(Ok((row, launch)))
    }

    /// What its tier gives an instance; an unknown tier, the defaults.
    fn resources(&self) -> ResourceRules {
        let policies = self.shared.policies.snapshot();
        policies.tier(&self.workspace.spec.tier).map(|tier| tier.rules().resources).unwrap_or_default()
    }

    async fn secrets_of(&self, revision: &Revision) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let (dir, slug) = (self.shared.settings.secrets_dir.clone(), self.workspace.slug.clone());
        let references = revision.secret_refs.clone();
        let read = tokio::task::spawn_blocking(move || secrets::read_all(&dir, &slug, &references)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
