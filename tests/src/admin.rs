//! The admin API as an operator uses it, and waits on what it says.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::{Reply, http, wait};

/// A real Backstage on a busy two-core machine, two of them at once, the first start with its migrations.
pub const UP_LIMIT: Duration = Duration::from_secs(180);

/// A client with the daemon's own bearer.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    token: String,
}

// === impl Admin ===

impl Admin {
    /// A client.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned() }
    }

    /// The bearer.
    pub fn bearer(&self) -> &str {
        &self.token
    }

    /// Any call.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        match self.try_call(method, path, body).await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error:#}"),
        }
    }

    /// Any call of a daemon that may die meanwhile.
    pub async fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Reply> {
        let (headers, body): (&[_], _) = match body {
            Some(value) => (&[("content-type", "application/json")], value.to_string()),
            None => (&[], String::new()),
        };
        let host = self.address.to_string();
        let request = http::request(method, &host, path, Some(&self.token), headers, body);
        http::send(self.address, request).await
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    /// A POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    /// A workspace; null where there is none.
    pub async fn workspace(&self, slug: &str) -> Value {
        let reply = self.get(&format!("/v1/workspaces/{slug}")).await;
        if reply.status == 404 { Value::Null } else { reply.expect(200).json() }
    }

    /// Waits until the workspace is as `wanted` says.
    pub async fn until(
        &self,
        slug: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool + Copy,
    ) -> Value {
        wait::until(&format!("{slug}: {what}"), limit, || async {
            let workspace = self.workspace(slug).await;
            if wanted(&workspace) { Ok(workspace) } else { Err(brief(&workspace)) }
        })
        .await
    }

    /// Waits until the workspace runs what its newest spec asks for.
    pub async fn running(&self, slug: &str) -> Value {
        self.until(slug, "running its newest generation", UP_LIMIT, |workspace| {
            workspace["status"]["phase"] == "running"
                && workspace["status"]["observed_generation"] == workspace["generation"]
                && truth(workspace, "RolledOut").is_none_or(|truth| truth == "True")
        })
        .await
    }

    /// Waits for a condition to have this truth; the condition.
    pub async fn condition(&self, slug: &str, kind: &str, wanted: &str, limit: Duration) -> Value {
        let workspace = self
            .until(slug, &format!("condition {kind} = {wanted}"), limit, |workspace| {
                truth(workspace, kind) == Some(wanted)
            })
            .await;
        condition(&workspace, kind).cloned().unwrap_or_default()
    }

    /// Waits until there is no such workspace.
    pub async fn gone(&self, slug: &str) {
        self.until(slug, "gone", UP_LIMIT, Value::is_null).await;
    }

    /// A one-time login URL for this token.
    pub async fn login_url(&self, slug: &str, token: &str) -> String {
        let path = format!("/v1/workspaces/{slug}/login-links");
        let reply = self.post(&path, json!({"token": token, "lifetime_s": 3600})).await;
        assert!(reply.status.is_success(), "{} {}", reply.status, reply.text());
        reply.json()["login_url"].as_str().expect("a login_url").to_owned()
    }

    /// What policies are loaded, and what was refused.
    pub async fn policies(&self) -> Value {
        self.get("/v1/policies").await.expect(200).json()
    }
}

/// A condition of a workspace resource.
pub fn condition<'a>(workspace: &'a Value, kind: &str) -> Option<&'a Value> {
    workspace["status"]["conditions"].as_array()?.iter().find(|condition| condition["kind"] == kind)
}

/// A condition's truth.
pub fn truth<'a>(workspace: &'a Value, kind: &str) -> Option<&'a str> {
    condition(workspace, kind)?["truth"].as_str()
}

/// How one plugin's start ended: outcome and reason.
pub fn plugin<'a>(workspace: &'a Value, id: &str) -> Option<(&'a str, &'a str)> {
    let plugins = workspace["status"]["plugins"].as_array()?;
    let report = plugins.iter().find(|report| report["id"] == id)?;
    Some((report["outcome"].as_str()?, report["reason"].as_str().unwrap_or_default()))
}

fn brief(workspace: &Value) -> String {
    if workspace.is_null() {
        return "no such workspace".to_owned();
    }
    let status = &workspace["status"];
    format!(
        "phase {}, generation {} observed {}, conditions {}",
        status["phase"], workspace["generation"], status["observed_generation"], status["conditions"]
    )
}
