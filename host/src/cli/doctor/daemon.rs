//! Looks at the daemon through its admin API: is it there, do the policies load, how do the workspaces do.

use serde_json::Value;

use super::Finding;
use crate::{
    cli::{
        client::Client,
        connection::{Connection, read_token},
        failure::Failure,
        policy,
    },
    settings::Settings,
};

/// Failing workspaces that are named one by one.
const MAX_NAMED: usize = 20;

/// Whether the daemon of these settings answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It did.
    Up,
    /// It did not.
    Down,
}

/// All checks on the daemon.
pub async fn look(connection: &Connection, settings: &Settings) -> (Vec<Finding>, Seen) {
    const CHECK: &str = "daemon";
    let (url, token_file) = connection.resolve(settings);
    let token = read_token(&token_file);
    let client = match Client::new(&url, token.clone()) {
        Ok(client) => client,
        Err(failure) => {
            return (vec![Finding::fail(CHECK, failure.message, "mend --admin or ORBITD_ADMIN_URL")], Seen::Down);
        }
    };
    if client.alive().await.is_err() {
        return (
            vec![Finding::warn(CHECK, format!("no daemon answers at {url}"), "start it: orbitd serve")],
            Seen::Down,
        );
    }
    if let Err(why) = token {
        return (vec![Finding::fail(CHECK, why, "pass --admin-token-file")], Seen::Up);
    }
    let mut findings = vec![Finding::ok(CHECK, format!("answers at {url}"))];
    findings.push(checked("readiness", client.probe("/readyz").await, |_| Finding::ok("readiness", "all is loaded")));
    findings.push(checked("policies", client.get("/v1/policies").await, |status| policies(&status)));
    match client.get::<Value>("/v1/workspaces").await {
        Ok(list) => findings.extend(workspaces(&list)),
        Err(failure) => findings.push(refused("workspaces", &failure)),
    }
    (findings, Seen::Up)
}

fn checked<T>(check: &'static str, answer: Result<T, Failure>, judge: impl FnOnce(T) -> Finding) -> Finding {
    match answer {
        Ok(answer) => judge(answer),
        Err(failure) => refused(check, &failure),
    }
}

fn refused(check: &'static str, failure: &Failure) -> Finding {
    Finding::fail(check, failure.message.clone(), "look at the daemon's log")
}

fn policies(status: &Value) -> Finding {
    let problems = policy::problems(status);
    match problems.len() {
        0 => Finding::ok("policies", "all bindings are loaded"),
        _ => Finding::fail(
            "policies",
            problems.join("\n"),
            "mend them and save; the last good ones serve meanwhile (`orbitd policy status`)",
        ),
    }
}

/// One line per workspace with a condition that does not hold; one for all if none has.
fn workspaces(list: &Value) -> Vec<Finding> {
    let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    let failing: Vec<Finding> = items.iter().filter_map(workspace).collect();
    if failing.is_empty() {
        return vec![Finding::ok("workspaces", format!("{} workspaces, no condition that does not hold", items.len()))];
    }
    let hidden = failing.len().saturating_sub(MAX_NAMED);
    let mut shown: Vec<Finding> = failing.into_iter().take(MAX_NAMED).collect();
    if hidden > 0 {
        shown.push(Finding::warn("workspaces", format!("{hidden} more like these"), "orbitd workspace list"));
    }
    shown
}

fn workspace(item: &Value) -> Option<Finding> {
    let slug = item["slug"].as_str().unwrap_or("?");
    let stopped = item["spec"]["desired"] == "stopped";
    let conditions = item["status"]["conditions"].as_array()?;
    // Down by wish is no fault.
    let bad = conditions.iter().filter(|c| c["truth"] == "False" && !(stopped && c["kind"] == "Ready"));
    let texts: Vec<String> = bad
        .map(|c| format!("{}: {}", c["kind"].as_str().unwrap_or("?"), c["message"].as_str().unwrap_or("no message")))
        .collect();
    if texts.is_empty() {
        return None;
    }
    Some(Finding::warn("workspaces", format!("{slug}: {}", texts.join("; ")), format!("orbitd workspace get {slug}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Verdict, *};

    #[test]
    fn a_workspace_with_a_condition_that_does_not_hold_is_named() {
        let list = json!({"items": [
            {"slug": "good", "spec": {"desired": "running"}, "status": {"conditions": [{"kind": "Ready", "truth": "True", "message": ""}]}},
            {"slug": "bad", "spec": {"desired": "running"}, "status": {"conditions": [{"kind": "Ready", "truth": "False", "message": "crashes"}]}},
            {"slug": "down", "spec": {"desired": "stopped"}, "status": {"conditions": [{"kind": "Ready", "truth": "False", "message": "stopped"}]}},
        ]});
        let findings = workspaces(&list);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].verdict, findings[0].text.as_str()), (Verdict::Warn, "bad: Ready: crashes"));
        assert_eq!(workspaces(&json!({"items": []}))[0].verdict, Verdict::Ok);
    }
}
