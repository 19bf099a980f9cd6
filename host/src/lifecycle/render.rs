//! Makes a revision of a spec: renderer policy, checks, digest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    config::{self, ConfigError},
    facts::Config,
    live::RenderedFor,
    observe::digests,
    reconcile::{Trouble, Work},
};
use crate::{
    crashpoint,
    ids::{Digest, PluginId},
    model::{ConditionKind, Revision, Truth},
    policy::{FailureKind, PolicyFailure, RenderInput, Rendered},
};

const MAX_NOTICES: usize = 20;
const MAX_NOTICE_CHARS: usize = 300;

/// Why there is no new revision.
struct Refused {
    reason: &'static str,
    message: String,
    /// The same spec may be rendered the next time.
    transient: bool,
}

impl Refused {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), transient: false }
    }
}

impl Work<'_> {
    /// Renders the spec; the outcome is in the live state and in `ConfigAccepted`.
    pub(super) async fn render(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let policies = self.shared.policies.snapshot().version();
        let generation = self.workspace.generation;
        let secrets = self.read_secrets().await;
        let secret_digests = secrets.as_ref().ok().map(digests);
        let rendered = match secrets {
            Err(message) => Err(Refused::new("SecretMissing", message)),
            Ok(_) => self.ask_policy().await,
        };
        let mut outcome = |outcome, transient| {
            self.live.rendered = Some(RenderedFor {
                generation,
                policies,
                secrets: secret_digests.clone(),
                outcome,
                transient,
                checked_at: now,
            });
        };
        match rendered {
            Ok(rendered) => {
                let secrets = secret_digests.clone().unwrap_or_default();
                let revision = self.revision(&rendered, secrets, now);
                crashpoint!("render.before-revision");
                self.shared.registry.insert_revision(&revision).await?;
                crashpoint!("render.after-revision");
                self.accepted(&revision, &rendered.notices, now);
                self.live.rendered = Some(RenderedFor {
                    generation,
                    policies,
                    secrets: secret_digests,
                    outcome: Config::Rendered(revision.digest),
                    transient: false,
                    checked_at: now,
                });
            }
            Err(refused) => {
                outcome(Config::Rejected, refused.transient);
                self.rejected(&refused, now);
            }
        }
        Ok(())
    }

    async fn ask_policy(&self) -> Result<Rendered, Refused> {
        let (slug, spec) = (self.workspace.slug.clone(), self.workspace.spec.clone());
        if let Some(plugins) = &spec.plugins {
            self.known(plugins)?;
        }
        let set = self.shared.policies.snapshot();
        if set.tier(&spec.tier).is_none() {
            let known: Vec<&str> = set.tiers().map(|tier| tier.as_str()).collect();
            let message = format!("there is no tier {} (tiers: {})", spec.tier, known.join(", "));
            return Err(Refused { transient: true, ..Refused::new("UnknownTier", message) });
        }
        let public_url = self.shared.public_url(&slug);
        // A renderer may take its whole budget: off the runtime.
        let rendered = tokio::task::spawn_blocking(move || {
            let input = RenderInput {
                workspace: &slug,
                tier: &spec.tier,
                public_url: &public_url,
                app_config: &spec.app_config,
                plugins: spec.plugins.as_deref(),
            };
            let secrets: BTreeSet<&str> = spec.secrets.keys().map(String::as_str).collect();
            let tier = set.tier(&spec.tier).ok_or_else(|| Refused::new("UnknownTier", "the tier is gone"))?;
            let rendered = tier.render(&input).map_err(policy_failed)?;
            config::check(&rendered.app_config, &secrets)
                .map_err(|ConfigError(message)| Refused::new("ConfigNotAllowed", message))?;
            Ok(rendered)
        })
        .await
        .unwrap_or_else(|error| {
            Err(Refused { transient: true, ..Refused::new("RendererFailed", error.to_string()) })
        })?;
        self.known(&rendered.plugins)?;
        Ok(rendered)
    }

    fn known(&self, plugins: &[PluginId]) -> Result<(), Refused> {
        let known = &self.shared.distribution.plugins;
        let Some(unknown) = plugins.iter().find(|plugin| !known.contains(*plugin)) else { return Ok(()) };
        let known: Vec<&str> = known.iter().map(PluginId::as_str).collect();
        let message = format!("there is no plugin {unknown} in this distribution; it has: {}", known.join(", "));
        Err(Refused::new("UnknownPlugin", message))
    }

    fn revision(&self, rendered: &Rendered, secrets: BTreeMap<String, Digest>, now: OffsetDateTime) -> Revision {
        let spec = &self.workspace.spec;
        let app_config = config::canonical(&Value::Object(rendered.app_config.clone()));
        let mut plugins = rendered.plugins.clone();
        plugins.sort();
        plugins.dedup();
        let distribution = self.shared.distribution.digest.clone();
        // The public URL is in `host.json`, not in the rendered config, and a changed one needs a restart all the same.
        let identity = config::canonical(&json!({
            "app_config": app_config,
            "plugins": plugins,
            "catalog": spec.catalog,
            "secrets": secrets,
            "distribution": distribution,
            "public_url": self.shared.public_url(&self.workspace.slug),
        }));
        Revision {
            digest: Digest::of(identity.to_string().as_bytes()),
            workspace: self.workspace.id,
            app_config: app_config.to_string(),
            plugins,
            catalog: spec.catalog.clone(),
            secrets,
            secret_refs: spec.secrets.clone(),
            distribution,
            created_at: now,
        }
    }

    fn accepted(&mut self, revision: &Revision, notices: &[String], now: OffsetDateTime) {
        let digest = revision.digest;
        if self.progress.rendered != Some(digest) {
            self.progress.rendered = Some(digest);
            // Something changed: what went wrong with the last one says nothing about this one.
            let status = self.status();
            status.crashes = 0;
            status.retry_at = None;
            status.failed_revision = None;
            self.event("ConfigRendered", format!("revision {} was rendered", digest.short()));
        }
        let notices: Vec<String> =
            notices.iter().take(MAX_NOTICES).map(|notice| notice.chars().take(MAX_NOTICE_CHARS).collect()).collect();
        let message = match notices.join("; ") {
            text if text.is_empty() => format!("revision {}", digest.short()),
            text => format!("revision {}; {text}", digest.short()),
        };
        self.status().set_condition(ConditionKind::ConfigAccepted, Truth::True, "Rendered", message, now);
    }

    fn rejected(&mut self, refused: &Refused, now: OffsetDateTime) {
        let kept = match self.workspace.status.active_revision {
            Some(active) => format!("; revision {} keeps running", active.short()),
            None => String::new(),
        };
        let message = format!("{}{kept}", refused.message);
        let changed = self.status().set_condition(
            ConditionKind::ConfigAccepted,
            Truth::False,
            refused.reason,
            message.clone(),
            now,
        );
        if changed {
            self.event("ConfigRejected", message);
        }
    }
}

fn policy_failed(failure: PolicyFailure) -> Refused {
    match failure.kind {
        // The policy's own sentence for the workspace's operator.
        FailureKind::Error => Refused::new("ConfigRefused", failure.message),
        kind => {
            tracing::warn!(%failure, "the renderer policy gave no answer");
            let message =
                format!("the renderer policy {} failed ({}): see orbitd's log", failure.policy, kind.as_str());
            Refused { transient: true, ..Refused::new("RendererFailed", message) }
        }
    }
}
