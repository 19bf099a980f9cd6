//! `orbitd policy list`, `status` and `reload`: which version of which policy serves which tier, what is rolled out beside it, what was
//! refused and why.

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Connection, Failure, Global, output};

/// Events that `status` shows; `--json` has all.
const EVENTS: usize = 5;

/// What the three take.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Prints all bindings.
pub async fn list(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status: Value = args.connection.open(global)?.get("/v1/policies").await?;
    if global.json {
        output::json(&status);
    } else {
        output::line(table(&status, OffsetDateTime::now_utc()));
    }
    Ok(())
}

/// Prints all bindings and what was refused.
pub async fn status(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status: Value = args.connection.open(global)?.get("/v1/policies").await?;
    show(global, &status);
    Ok(())
}

/// Lets the daemon read its folder.
///
/// # Errors
/// Something was refused.
pub async fn reload(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status = args.connection.open(global)?.call(Method::POST, "/v1/policies/reload", None).await?;
    show(global, &status);
    if !problems(&status).is_empty() {
        return Err(Failure::failed("some policies were refused; the last good ones keep serving. Mend them and save"));
    }
    Ok(())
}

fn show(global: &Global, status: &Value) {
    if global.json {
        output::json(status);
        return;
    }
    let now = OffsetDateTime::now_utc();
    output::line(format!("set {}, since {}\n", status["set_version"], since(&status["active_since"], now)));
    output::line(table(status, now));
    for remark in remarks(status).into_iter().chain(registries(status, now)) {
        let lines: Vec<String> = remark.lines().map(output::clean).collect();
        output::line(format!("\n{}", lines.join("\n")));
    }
    let events = status["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !events.is_empty() {
        let mut table = output::Table::plain().indented(2);
        for event in events.iter().rev().take(EVENTS) {
            table.row([
                format!("{} ago", since(&event["at"], now)),
                format!("{} {}", text(&event["tier"]), text(&event["binding"])),
                format!("{} {}", text(&event["what"]), short(&event["digest"])).trim().to_owned(),
                format!("{}: {}", text(&event["by"]), text(&event["reason"])),
            ]);
        }
        output::line(format!("\nLately:\n{}", table.render()));
    }
    for problem in problems(status) {
        output::note(format!("refused: {}", output::clean(&problem)));
    }
}

/// A row per version that runs.
fn table(status: &Value, now: OffsetDateTime) -> String {
    let mut table = output::Table::new(["TIER", "BINDING", "POLICY", "DIGEST", "SINCE", "HOW"]);
    for tier in items(&status["tiers"]) {
        if !tier["serving"].as_bool().unwrap_or(false) {
            table.row([
                text(&tier["tier"]),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
                "not loaded: requests get 503".into(),
            ]);
        }
        for binding in items(&tier["policies"]) {
            let serves = match binding["serves"].as_str() {
                Some("promoted") => "active (promoted)",
                Some("rolled-back") => "active (rolled back to it)",
                _ => "active",
            };
            let mut how = vec![serves.to_owned()];
            how.extend(health(binding));
            if binding["memory"] == false {
                how.push("no memory".to_owned());
            }
            table.row(row(text(&tier["tier"]), text(&binding["binding"]), binding, &how, now));
            let next = &binding["next"];
            let mode = match next["mode"].as_str() {
                Some("rolled-back") | None => continue,
                Some(mode) => mode,
            };
            let named = items(&next["workspaces"]).count();
            let beside = if named > 0 { format!(" + {named} named") } else { String::new() };
            let mut how = vec![format!("{mode} {}{beside}", text(&next["share"]))];
            if next["digest"] == binding["digest"] {
                how.push("the same module with other settings or limits".to_owned());
            }
            how.extend(health(next));
            let differences = &next["differences"];
            if differences.is_object() {
                how.push(format!(
                    "{} same, {} different, {} failed, {} dropped",
                    differences["same"], differences["different"], differences["failed"], differences["dropped"]
                ));
            }
            table.row(row(String::new(), "└ next".to_owned(), next, &how, now));
        }
    }
    table.render()
}

fn row(tier: String, binding: String, version: &Value, how: &[String], now: OffsetDateTime) -> [String; 6] {
    let policy = format!("{} {}", text(&version["policy"]), text(&version["version"]));
    [tier, binding, policy, short(&version["digest"]), since(&version["active_since"], now), how.join(", ")]
}

fn health(version: &Value) -> Vec<String> {
    let mut how = Vec::new();
    if version["breaker"]["open"] == true {
        how.push("BREAKER OPEN".to_owned());
    }
    let trial = &version["trial"];
    if trial.is_object() {
        let spent = if trial["spent"].is_string() { ", BUDGET SPENT" } else { "" };
        how.push(format!(
            "new: {} of {} failed ({} allowed{spent})",
            trial["failures"],
            trial["decisions"],
            text(&trial["allowed"])
        ));
    }
    how
}

/// What needs a sentence: versions that are held back, differences of shadows.
fn remarks(status: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    for tier in items(&status["tiers"]) {
        for binding in items(&tier["policies"]) {
            let place = format!("{} {}", text(&tier["tier"]), text(&binding["binding"]));
            let held = |held: &Value, which: &str| {
                let (digest, by, reason) = (short(&held["digest"]), text(&held["by"]), text(&held["reason"]));
                let resume = place.clone();
                format!(
                    "{place}: {which} of the tier's file ({digest}) was rolled back by {by}: {reason}.\n  Try it again with `orbitd policy \
                     resume {resume}`, or name another version in the file"
                )
            };
            if binding["held_back"].is_object() {
                remarks.push(held(&binding["held_back"], "the version"));
            }
            if binding["next"]["mode"] == "rolled-back" {
                remarks.push(held(&binding["next"], "the next version"));
            }
            for sample in items(&binding["next"]["differences"]["samples"]).take(EVENTS) {
                remarks.push(format!(
                    "{place}: {} × the active version said {}, the next one {}; first for {}: {}",
                    sample["count"],
                    said(&sample["active"]),
                    said(&sample["next"]),
                    text(&sample["workspace"]),
                    sample["seen"]
                ));
            }
        }
    }
    if let Some(why) = status["not_saved"].as_str() {
        remarks.push(format!("promotions and rollbacks are not safe from a restart: {why}"));
    }
    remarks
}

/// Registries that don't answer as they should: since when, and what serves instead.
fn registries(status: &Value, now: OffsetDateTime) -> Vec<String> {
    let remark = |module: &Value| {
        let error = module["error"].as_str()?;
        let serves = match module["digest"].as_str() {
            Some(_) => format!(
                "what was pulled {} ago serves on ({})",
                since(&module["pulled_at"], now),
                short(&module["digest"])
            ),
            None => "nothing was ever pulled from there".to_owned(),
        };
        let (reference, failing) = (text(&module["reference"]), since(&module["failing_since"], now));
        Some(format!("{reference}: for {failing} no good answer; {serves}.\n  {error}"))
    };
    items(&status["remote"]).filter_map(remark).collect()
}

fn said(decision: &Value) -> String {
    let word = text(&decision["decision"]);
    let detail = ["plugin", "status", "user", "kind"].iter().find(|key| !decision[**key].is_null());
    let detail = detail.map(|key| format!(" {}", text(&decision[*key]))).unwrap_or_default();
    let reason = decision["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{word}{detail}{reason}")
}

/// Tiers whose newest file is not what serves, and why.
pub fn problems(status: &Value) -> Vec<String> {
    let refused = |tier: &Value| Some(format!("{}: {}", text(&tier["tier"]), tier["refused"]["reason"].as_str()?));
    items(&status["tiers"]).filter_map(refused).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The part of a digest that tells two apart.
fn short(digest: &Value) -> String {
    digest.as_str().unwrap_or_default().trim_start_matches("sha256:").chars().take(12).collect()
}

fn since(at: &Value, now: OffsetDateTime) -> String {
    at.as_str()
        .and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok())
        .map_or_else(|| "-".into(), |at| output::age(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        serde_json::from_str(include_str!("status_example.json")).expect("JSON")
    }

    #[test]
    fn every_version_is_a_row() {
        let now = OffsetDateTime::parse("2026-01-01T01:00:00Z", &Rfc3339).expect("a time");
        let table = table(&status(), now);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 4, "{table}");
        assert!(rows[1].contains("not loaded"), "{table}");
        assert!(
            rows[2].contains("0123456789ab") && rows[2].contains("rolled back to it), BREAKER OPEN, no memory"),
            "{table}"
        );
        assert!(
            rows[3].contains("shadow 100% + 1 named, new: 1 of 9 failed (5% allowed), 7 same, 1 different"),
            "{table}"
        );
    }

    #[test]
    fn a_registry_that_fails_is_told_with_what_serves() {
        let now = OffsetDateTime::parse("2026-01-01T01:00:00Z", &Rfc3339).expect("a time");
        let told = registries(&status(), now);
        assert_eq!(
            told,
            ["oci://r.example.org/p:1: for 30m no good answer; what was pulled 1h ago serves on (0123456789ab).\n  \
              registry r.example.org can't be reached: no route; check that it runs"]
        );
    }

    #[test]
    fn what_was_refused_or_held_back_is_named_with_its_reason() {
        assert_eq!(problems(&status()), ["free: policies/free.toml: wrong world"]);
        let remarks = remarks(&status());
        assert!(
            remarks[0].contains("error budget is spent") && remarks[0].contains("resume pro router"),
            "{remarks:?}"
        );
        assert!(
            remarks[1].contains("2 × the active version said forward app, the next one refuse 404 (no)"),
            "{remarks:?}"
        );
    }
}
