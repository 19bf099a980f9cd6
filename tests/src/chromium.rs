//! A headless Chromium, driven over its DevTools protocol: one page, open an address, ask the page. No WebDriver in between.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    processes,
    wait::{self, seconds},
};

/// Without these Chromium, started as root on a machine without a network, spends its time failing.
const FLAGS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
    "about:blank",
];
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A running browser with one page.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    next_id: u64,
}

/// The browser's program, if it is installed.
pub fn program() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

// === impl Browser ===

impl Browser {
    /// Starts it with an empty profile in `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let program = program().context("no Chromium: run `make services` (Debian package chromium)")?;
        let profile = tempfile::Builder::new().prefix("chromium-").tempdir_in(dir)?.keep();
        let child = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let file = profile.join("DevToolsActivePort");
        let address = wait::until("Chromium's DevTools address", seconds(60), || async {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let (port, path) = text.trim().split_once('\n').ok_or("half written")?;
            Ok::<_, String>(format!("ws://127.0.0.1:{port}{path}"))
        })
        .await;
        let (socket, _) = connect_async(&address).await?;
        let mut browser = Self { child, profile, socket, session: String::new(), next_id: 0 };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach).await?;
        browser.session = session["sessionId"].as_str().context("no session")?.to_owned();
        browser.call("Page.enable", json!({})).await?;
        Ok(browser)
    }

    /// Opens an address; returns once navigation has begun.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url})).await?;
        match answer["errorText"].as_str() {
            Some(error) if !error.is_empty() => bail!("{url}: {error}"),
            _ => Ok(()),
        }
    }

    /// The value of a JavaScript expression on the page.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters).await?;
        if let Some(error) = answer.get("exceptionDetails") {
            bail!("{expression}: {error}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// What a person would read on the page.
    pub async fn text(&mut self) -> String {
        let text = self.evaluate("document.body ? document.body.innerText : ''").await.unwrap_or_default();
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this text; all its text.
    ///
    /// # Panics
    /// When it doesn't in time; the message has what it shows instead.
    pub async fn shows(&mut self, wanted: &str, limit: Duration) -> String {
        let deadline = std::time::Instant::now() + limit;
        loop {
            let text = self.text().await;
            if text.contains(wanted) {
                return text;
            }
            let late = std::time::Instant::now() >= deadline;
            assert!(!late, "the page does not show {wanted:?} but:\n{text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A picture of the page, PNG.
    pub async fn screenshot(&mut self, path: &Path) -> Result<()> {
        use base64::Engine as _;
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let data = answer["data"].as_str().context("no picture")?;
        std::fs::write(path, base64::engine::general_purpose::STANDARD.decode(data)?)?;
        Ok(())
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await?;
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let Message::Text(text) = message? else { continue };
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == id {
                    return match answer.get("error") {
                        Some(error) => bail!("{method}: {error}"),
                        None => Ok(answer["result"].clone()),
                    };
                }
            }
            bail!("{method}: the browser closed")
        };
        tokio::time::timeout(ANSWER_LIMIT, answer).await.with_context(|| format!("{method}: no answer"))?
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its helpers carry the profile's path in their arguments' parent; they end with it.
        for process in processes::living_below(&self.profile) {
            processes::signal_if_alive(process.pid, rustix::process::Signal::KILL);
        }
    }
}
