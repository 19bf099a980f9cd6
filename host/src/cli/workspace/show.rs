//! `orbitd workspace list` and `get`.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{Resource, fetch, judge::phase};
use crate::{
    cli::{
        client::{Client, typed},
        failure::Failure,
        output::{self, Table, age, clean},
    },
    ids::Slug,
    model::{ConditionKind, DesiredState, PluginOutcome, Status, Truth},
};

#[derive(Deserialize)]
struct Items {
    items: Vec<Resource>,
    /// Where the next page begins, if one answer was not enough.
    next: Option<String>,
}

/// All, one line each.
pub async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let answer: Value = client.get("/v1/workspaces").await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let Items { items, next } = typed(answer)?;
    if items.is_empty() {
        output::note(
            "no workspaces yet; make one: orbitd workspace create acme --tier <tier> (tiers: orbitd policy list)",
        );
        return Ok(());
    }
    output::line(table(&items, OffsetDateTime::now_utc()));
    if let Some(next) = next {
        output::note(format!("… there are more, after {next}: GET /v1/workspaces?after={next}"));
    }
    Ok(())
}

fn table(items: &[Resource], now: OffsetDateTime) -> String {
    let mut table = Table::new(["SLUG", "TIER", "PHASE", "READY", "PLUGINS", "URL", "AGE"]);
    for Resource { workspace, url, .. } in items {
        table.row([
            workspace.slug.to_string(),
            workspace.spec.tier.to_string(),
            phase(workspace.status.phase).to_owned(),
            ready(&workspace.status).to_owned(),
            plugins(&workspace.status),
            url.clone(),
            age(workspace.created_at, now),
        ]);
    }
    table.render()
}

fn ready(status: &Status) -> &'static str {
    status.condition(ConditionKind::Ready).map_or("unknown", |condition| truth(condition.truth))
}

fn truth(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "yes",
        Truth::False => "no",
        Truth::Unknown => "unknown",
    }
}

fn plugins(status: &Status) -> String {
    let ready = status.plugins.iter().filter(|plugin| plugin.outcome == PluginOutcome::Ready).count();
    format!("{ready}/{}", status.plugins.len())
}

/// One, whole.
pub async fn get(client: &Client, slug: &Slug, as_json: bool) -> Result<(), Failure> {
    let answer = fetch(client, slug).await?;
    if as_json {
        output::json(&answer);
    } else {
        output::line(view(&typed(answer)?, OffsetDateTime::now_utc()));
    }
    Ok(())
}

fn view(resource: &Resource, now: OffsetDateTime) -> String {
    let sections = [
        facts(resource, now),
        conditions(resource, now),
        plugin_table(resource),
        instances(resource, now),
        app_config(resource),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn facts(resource: &Resource, now: OffsetDateTime) -> String {
    let (workspace, status) = (&resource.workspace, &resource.workspace.status);
    let mut table = Table::plain();
    let mut fact = |name: &str, value: String| table.row([name.to_owned(), value]);
    fact("Workspace", workspace.slug.to_string());
    fact("URL", resource.url.clone());
    fact(
        "Phase",
        match workspace.deleting {
            true => "deleting".to_owned(),
            false => phase(status.phase).to_owned(),
        },
    );
    fact("Tier", workspace.spec.tier.to_string());
    fact(
        "Desired",
        match workspace.spec.desired {
            DesiredState::Running => "running".to_owned(),
            DesiredState::Stopped => "stopped".to_owned(),
        },
    );
    fact("Owner", workspace.owner.to_string());
    fact(
        "Generation",
        match workspace.generation - status.observed_generation {
            0 => workspace.generation.to_string(),
            _ => format!("{} (the controller is at {})", workspace.generation, status.observed_generation),
        },
    );
    fact("Revision", status.active_revision.map_or("none yet".to_owned(), |digest| digest.short()));
    if let Some(failed) = status.failed_revision {
        fact("Failed revision", format!("{}: it did not come up", failed.short()));
    }
    if status.crashes > 0 {
        let retry = status.retry_at.map(|at| format!("; next start in {}", age(now, at))).unwrap_or_default();
        fact("Crashes in a row", format!("{}{retry}", status.crashes));
    }
    if !workspace.spec.catalog.is_empty() {
        let bytes: usize = workspace.spec.catalog.values().map(String::len).sum();
        fact("Catalogue", format!("{} files, {bytes} bytes", workspace.spec.catalog.len()));
    }
    if !workspace.spec.secrets.is_empty() {
        fact("Secrets", workspace.spec.secrets.keys().cloned().collect::<Vec<_>>().join(", "));
    }
    fact("Created", format!("{} ago, id {}", age(workspace.created_at, now), workspace.id));
    table.render()
}

fn conditions(resource: &Resource, now: OffsetDateTime) -> String {
    let conditions = &resource.workspace.status.conditions;
    if conditions.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["CONDITION", "HOLDS", "SINCE", "REASON"]).indented(2);
    for condition in conditions {
        table.row([
            format!("{:?}", condition.kind),
            truth(condition.truth).to_owned(),
            age(condition.since, now),
            condition.reason.clone(),
        ]);
    }
    let mut text = format!("Conditions\n{}", table.render());
    // Whole sentences don't fit a table; those of what does not hold are what this view is for.
    for condition in conditions.iter().filter(|c| c.truth != Truth::True && !c.message.is_empty()) {
        text.push_str(&format!("\n  {:?}: {}", condition.kind, clean(&condition.message)));
    }
    text
}

fn plugin_table(resource: &Resource) -> String {
    let reports = &resource.workspace.status.plugins;
    if reports.is_empty() {
        return match &resource.workspace.spec.plugins {
            Some(chosen) => format!(
                "Plugins (chosen, not reported yet)\n  {}",
                chosen.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ")
            ),
            None => String::new(),
        };
    }
    let mut table = Table::new(["PLUGIN", "OUTCOME", "WHY"]).indented(2);
    for report in reports {
        let outcome = match report.outcome {
            PluginOutcome::Ready => "ready",
            PluginOutcome::Failed => "failed",
            PluginOutcome::LeftOut => "left out",
        };
        table.row([report.id.to_string(), outcome.to_owned(), report.reason.clone().unwrap_or_default()]);
    }
    format!("Plugins {} ready\n{}", plugins(&resource.workspace.status), table.render())
}

/// The API may add fields to an instance; these are the ones worth a column.
fn instances(resource: &Resource, now: OffsetDateTime) -> String {
    if resource.instances.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["INSTANCE", "PID", "PORT", "REVISION", "UP"]).indented(2);
    for instance in &resource.instances {
        let text = |field: &str| match &instance[field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let started = OffsetDateTime::parse(&text("started_at"), &time::format_description::well_known::Rfc3339);
        let revision =
            text("revision").strip_prefix("sha256:").map_or("-".to_owned(), |hex| hex.chars().take(12).collect());
        table.row([text("id"), text("pid"), text("port"), revision, started.map_or("-".to_owned(), |at| age(at, now))]);
    }
    format!("Instance\n{}", table.render())
}

fn app_config(resource: &Resource) -> String {
    let config = &resource.workspace.spec.app_config;
    if config.is_empty() {
        return String::new();
    }
    // serde_json escapes control characters.
    let text = format!("{:#}", Value::Object(config.clone()));
    format!("App-config (asked for; the tier's renderer decides)\n  {}", text.replace('\n', "\n  "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn acme() -> Resource {
        serde_json::from_value(json!({
            "id": "01890000-0000-7000-8000-000000000000", "slug": "acme", "owner": "api",
            "spec": {"tier": "pro", "app_config": {"app": {"title": "Acme"}}},
            "generation": 3, "deleting": false, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
            "url": "http://acme.localhost:7080",
            "status": {
                "observed_generation": 2, "phase": "running", "active_revision": null, "failed_revision": null, "crashes": 2,
                "retry_at": "2026-01-01T01:00:30Z",
                "conditions": [
                    {"kind": "Ready", "truth": "True", "reason": "Answers", "message": "fine", "since": "2026-01-01T00:00:10Z"},
                    {"kind": "PluginsHealthy", "truth": "False", "reason": "LeftOut", "message": "argocd needs argocd.appLocatorMethods",
                     "since": "2026-01-01T00:00:10Z"}],
                "plugins": [{"id": "catalog", "outcome": "ready"}, {"id": "argocd", "outcome": "left-out", "reason": "no config"}]},
            "instances": [{"id": "i", "pid": 7, "port": 20001, "revision": null, "started_at": "2026-01-01T00:30:00Z"}],
        }))
        .expect("a workspace as the API writes it")
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::parse("2026-01-01T01:00:00Z", &time::format_description::well_known::Rfc3339).expect("a time")
    }

    #[test]
    fn a_list_says_the_important_in_a_line() {
        let text = table(&[acme()], now());
        assert_eq!(text.lines().nth(1), Some("acme  pro   running  yes    1/2      http://acme.localhost:7080  1h"));
    }

    #[test]
    fn the_view_tells_what_does_not_hold_and_why() {
        let text = view(&acme(), now());
        for part in [
            "Generation        3 (the controller is at 2)",
            "2; next start in 30s",
            "PluginsHealthy: argocd needs argocd.appLocatorMethods",
            "argocd   left out  no config",
            "Plugins 1/2 ready",
            "20001",
            "\"title\": \"Acme\"",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert!(!text.contains("Ready: fine"), "what holds needs no sentence");
    }
}
