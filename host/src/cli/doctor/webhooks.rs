//! Tries the webhooks of `[alerts]` out, when asked to.

use super::Finding;
use crate::{alerts, settings::WebhookSettings};

const CHECK: &str = "alerts";

/// One finding per webhook; its number, because its URL is often its secret.
pub async fn test(webhooks: &[WebhookSettings]) -> Vec<Finding> {
    if webhooks.is_empty() {
        return vec![Finding::warn(CHECK, "nobody is told: there is no webhook", "add an [[alerts.webhooks]]")];
    }
    let mut findings = Vec::with_capacity(webhooks.len());
    for (index, webhook) in webhooks.iter().enumerate() {
        let number = index + 1;
        findings.push(match alerts::deliver_test(webhook).await {
            Ok(()) => Finding::ok(CHECK, format!("webhook {number} took a test notice")),
            Err(error) => Finding::fail(
                CHECK,
                format!("webhook {number} did not take a test notice: {error}"),
                format!("mend url, format or bearer_file of the webhook number {number} of [alerts]"),
            ),
        });
    }
    findings
}
