//! Brings notices to the webhooks: in order, each with a deadline, again with growing pauses. A webhook that is down holds up nobody
//! else's.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{
    Outbox,
    notice::{Kind, Notice, State},
};
use crate::settings::WebhookSettings;

/// Of one delivery.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before the second and later tries: 8 tries within about 8 minutes; then the notice is given up.
const PAUSES_S: [u64; 7] = [1, 4, 15, 30, 60, 120, 240];
/// Bytes of a bearer file.
const MAX_BEARER: usize = 8 << 10;

/// Why a notice did not get through.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No answer.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// Another answer than 2xx.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// The bearer file can't be used.
    #[error("its bearer_file can't be read: {0}")]
    Bearer(std::io::Error),
}

impl DeliveryError {
    /// Whether the same notice could get through later.
    fn passes(&self) -> bool {
        match self {
            Self::Refused(status) => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            Self::Unreachable(_) | Self::Bearer(_) => true,
        }
    }
}

/// Delivers until `cancel`. What is queued then is lost: the next daemon reports what still is.
pub async fn run(outbox: Outbox, webhooks: Vec<WebhookSettings>, cancel: CancellationToken) -> anyhow::Result<()> {
    let (client, mut notices) = (client()?, outbox.0);
    loop {
        let notice = tokio::select! {
            // Cancel-safe: a notice that is not taken stays.
            () = cancel.cancelled() => return Ok(()),
            notice = notices.recv() => notice,
        };
        let Some(notice) = notice else {
            cancel.cancelled().await;
            return Ok(());
        };
        let all = webhooks.iter().map(|webhook| persist(&client, webhook, &notice));
        tokio::select! {
            // Dropped between or in tries; at worst a receiver gets it twice, from the next daemon.
            () = cancel.cancelled() => return Ok(()),
            _ = join_all(all) => {}
        }
    }
}

/// Sends a notice that says it is a test, once.
///
/// # Errors
/// Why it did not get through.
pub async fn deliver_test(webhook: &WebhookSettings) -> Result<(), DeliveryError> {
    let now = OffsetDateTime::now_utc();
    let notice = Notice {
        id: uuid::Uuid::now_v7().to_string(),
        state: State::Firing,
        kind: Kind::Test,
        subject: "orbitd".to_owned(),
        summary: "orbitd doctor tries this webhook out; nothing is wrong".to_owned(),
        since: now,
        at: now,
    };
    let client = client().map_err(|error| DeliveryError::Unreachable(error.to_string()))?;
    deliver(&client, webhook, &notice).await
}

fn client() -> reqwest::Result<reqwest::Client> {
    // No redirects: a notice goes where the settings say.
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("orbitd/", env!("CARGO_PKG_VERSION")))
        .build()
}

async fn persist(client: &reqwest::Client, webhook: &WebhookSettings, notice: &Notice) {
    let mut pauses = PAUSES_S.into_iter();
    loop {
        let Err(error) = deliver(client, webhook, notice).await else { return };
        match pauses.next().filter(|_| error.passes()) {
            Some(pause) => {
                tracing::debug!(kind = notice.kind.as_str(), %error, pause, "a webhook is tried again");
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
            None => {
                tracing::warn!(kind = notice.kind.as_str(), subject = notice.subject, %error, "a webhook did not take a notice");
                return;
            }
        }
    }
}

async fn deliver(client: &reqwest::Client, webhook: &WebhookSettings, notice: &Notice) -> Result<(), DeliveryError> {
    let mut request = client.post(&webhook.url).json(&notice.body(webhook.format));
    if let Some(file) = &webhook.bearer_file {
        let token = tokio::fs::read_to_string(file).await.map_err(DeliveryError::Bearer)?;
        let token: String = token.trim().chars().take(MAX_BEARER).collect();
        request = request.bearer_auth(token);
    }
    // The URL is often the secret: it is in no error.
    let answer = request.send().await.map_err(|error| DeliveryError::Unreachable(error.without_url().to_string()))?;
    if answer.status().is_success() { Ok(()) } else { Err(DeliveryError::Refused(answer.status())) }
}
