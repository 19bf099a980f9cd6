//! Speaks to the admin API: JSON in, JSON out, problem documents (RFC 9457) as [`Failure`]s.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::failure::{Code, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one call, answer included. Everything long is asked for repeatedly.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Of the few that read or write all of a backup.
const SLOW_CALL_TIMEOUT: Duration = Duration::from_secs(630);
/// Of a stream: the daemon ends it after an hour.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Bytes of one answer: 100,000 workspaces of 2 kB.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// One daemon's admin API.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The bearer, or why there is none.
    token: Result<String, String>,
}

/// One call.
struct Call<'a> {
    limit: Duration,
    method: Method,
    path: &'a str,
    body: Option<Value>,
    /// Of a change that may be sent again.
    key: Option<String>,
}

/// What of a call did not come through.
enum Lost {
    /// The daemon was not reached, or did not answer in time.
    Request(Failure),
    /// It was reached, and the connection ended before the answer did.
    Answer(Failure),
}

impl Lost {
    fn failure(self) -> Failure {
        match self {
            Self::Request(failure) | Self::Answer(failure) => failure,
        }
    }
}

/// RFC 9457, as far as a person needs it.
#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    request_id: String,
}

impl Client {
    /// A client for the API at `base`; connects with the first call. Without a token (`Err` says why) it still tells a daemon
    /// that does not run from one whose token is elsewhere.
    ///
    /// # Errors
    /// `base` is no http(s) URL.
    pub fn new(base: &str, token: Result<String, String>) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!(
                "--admin {base:?} is not the URL of an admin API: {why}; write it like http://127.0.0.1:7081"
            ))
        };
        let base_url: Url = base.parse().map_err(|error| wrong(&format!("{error}")))?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // The daemon is on this machine or behind its own front: a proxy for the internet would only see the token.
            .no_proxy()
            .user_agent(concat!("orbitd/", env!("CARGO_PKG_VERSION")));
        match base_url.scheme() {
            "https" => {}
            // No TLS, so no reason to need the system's certificates.
            "http" => builder = builder.tls_certs_only([]),
            _ => return Err(wrong("the scheme must be http or https")),
        }
        let http = builder
            .build()
            .map_err(|error| Failure::failed(format!("cannot set up an HTTP client: {}", chain(&error))))?;
        Ok(Self { http, base: base_url, token })
    }

    /// Where it connects to.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// GET, typed.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        typed(self.call(Method::GET, path, None).await?)
    }

    /// Any call; `Value::Null` where the answer has no body.
    ///
    /// # Errors
    /// Not reachable, or the daemon refused: its title and detail.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.call_within(CALL_TIMEOUT, method, path, body).await
    }

    /// One of the few calls that take minutes: a backup is read or written whole.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_slowly(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.call_within(SLOW_CALL_TIMEOUT, method, path, body).await
    }

    async fn call_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        if let Err(why) = &self.token {
            // A daemon that does not run is the likelier reason, and the one to name.
            self.alive().await?;
            return Err(Failure::failed(why.clone()));
        }
        let key = (method == Method::POST).then(|| uuid::Uuid::now_v7().to_string());
        let request = Call { limit, method, path, body, key };
        let (status, bytes) = match self.send(&request).await {
            Ok(answer) => answer,
            // The daemon may have done it, or not: with the same key it is done once.
            Err(Lost::Answer(_)) if request.key.is_some() => self.send(&request).await.map_err(Lost::failure)?,
            Err(lost) => return Err(lost.failure()),
        };
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::failed(format!(
                "{} did not answer with JSON: is this orbitd's admin API (admin.listen)?",
                self.address()
            ))
        })
    }

    /// Whether something answers at all.
    ///
    /// # Errors
    /// [`Code::Unreachable`] and nothing else.
    pub async fn alive(&self) -> Result<(), Failure> {
        match self.probe("/healthz").await {
            Err(failure) if failure.code == Code::Unreachable => Err(failure),
            _ => Ok(()),
        }
    }

    /// A path whose status is all that counts (`/healthz`, `/readyz`).
    pub async fn probe(&self, path: &str) -> Result<(), Failure> {
        let request = Call { limit: CALL_TIMEOUT, method: Method::GET, path, body: None, key: None };
        let (status, bytes) = self.send(&request).await.map_err(Lost::failure)?;
        if status.is_success() { Ok(()) } else { Err(refusal(status, &bytes)) }
    }

    /// A stream of server-sent events; its chunks come as they are sent, for as long as the daemon sends any.
    pub async fn stream(&self, path: &str) -> Result<Response, Failure> {
        let token = match &self.token {
            Ok(token) => token,
            Err(why) => {
                self.alive().await?;
                return Err(Failure::failed(why.clone()));
            }
        };
        let request = self.http.get(format!("{}{path}", self.address())).bearer_auth(token);
        let request = request.header("accept", "text/event-stream").timeout(STREAM_TIMEOUT);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() { Ok(response) } else { Err(refusal(status, &self.read(response).await?)) }
    }

    async fn send(&self, call: &Call<'_>) -> Result<(StatusCode, Vec<u8>), Lost> {
        let url = format!("{}{}", self.address(), call.path);
        let mut request = self.http.request(call.method.clone(), url).timeout(call.limit);
        if let Ok(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            let failure = self.unreachable(&error);
            if error.is_connect() || error.is_timeout() { Lost::Request(failure) } else { Lost::Answer(failure) }
        })?;
        let status = response.status();
        Ok((status, self.read(response).await.map_err(Lost::Answer)?))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::failed(format!("{} answered with more than 256 MiB", self.address())));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let reason = chain(error);
        Failure {
            code: Code::Unreachable,
            message: format!(
                "the daemon at {} is not reachable: {reason}. Is it running (`orbitd serve`)? Elsewhere? Then pass --admin URL \
                 or --config FILE; `orbitd doctor` looks further",
                self.address()
            ),
        }
    }
}

/// A part of an answer in our own types.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::failed(format!(
            "the daemon's answer is not understood ({error}): is it another version than this orbitd?"
        ))
    })
}

/// The error with its causes, without the URL, which every text names already.
fn chain(error: &dyn std::error::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(current) = cause {
        causes.push(current.to_string());
        cause = current.source();
    }
    // The last one is what the system said; those before only say in which layer.
    causes.pop().unwrap_or_else(|| error.to_string())
}

/// A refused call as the user reads it.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Code::Conflict,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::Usage,
        _ => Code::Failed,
    };
    let mut message = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.detail.is_empty() => problem.title,
        Ok(problem) if status.is_server_error() && !problem.request_id.is_empty() => {
            format!("{}: {} (request {} in the daemon's log)", problem.title, problem.detail, problem.request_id)
        }
        Ok(problem) => format!("{}: {}", problem.title, problem.detail),
        Err(_) => format!("the daemon answered {status}"),
    };
    if status == StatusCode::UNAUTHORIZED {
        message.push_str(". The admin token is not this daemon's: name its file with --admin-token-file, or its settings with --config");
    }
    Failure { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_title_and_detail_with_its_exit_code() {
        let body = br#"{"type":"about:blank","title":"Conflict","status":409,"detail":"the workspace acme exists already","request_id":"r1"}"#;
        let failure = refusal(StatusCode::CONFLICT, body);
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (Code::Conflict, "Conflict: the workspace acme exists already")
        );
        assert_eq!(refusal(StatusCode::NOT_FOUND, b"").code, Code::NotFound);
        assert!(refusal(StatusCode::BAD_GATEWAY, b"<html>").message.contains("502"));
        assert!(refusal(StatusCode::UNAUTHORIZED, body).message.contains("--admin-token-file"));
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_address_and_next_step() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = free.local_addr().expect("an address");
        drop(free);
        let client = Client::new(&format!("http://{address}/"), Ok("t".into())).expect("a client");
        let failure = client.call(Method::GET, "/v1/workspaces", None).await.expect_err("nobody there");
        assert_eq!(failure.code, Code::Unreachable);
        let no_token = Client::new(&format!("http://{address}/"), Err("no token".into())).expect("a client");
        let without = no_token.call(Method::GET, "/v1/workspaces", None).await.expect_err("nobody there");
        assert_eq!(without.code, Code::Unreachable, "a daemon that is not there is said first");
        assert!(
            failure.message.contains(&address.to_string()) && failure.message.contains("refused"),
            "{}",
            failure.message
        );
        assert!(Client::new("ftp://x", Ok(String::new())).is_err());
        assert!(Client::new("127.0.0.1", Ok(String::new())).is_err());
    }
}
