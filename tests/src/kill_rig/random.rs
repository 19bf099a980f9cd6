//! SIGKILL at random instants under mixed operations. What the daemon has confirmed must be so after the restart; what it was killed
//! under may be either.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Daemon, Setup};

const SLUGS: [&str; 4] = ["wa", "wb", "wc", "wd"];
/// The kill comes at most this long after an operation began: most of what one sets going happens within it.
const MAX_DELAY_MS: u64 = 900;
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// What all rounds came to.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Kills.
    pub rounds: u32,
    /// Operations that the daemon confirmed before it died.
    pub confirmed: u32,
    /// Operations that it was killed under.
    pub unanswered: u32,
    /// Confirmed and not so afterwards.
    pub lost: Vec<String>,
    /// More than one instance of a workspace.
    pub double: Vec<String>,
    /// Instances of no workspace.
    pub orphans: Vec<String>,
}

impl Tally {
    /// Everything that is wrong.
    pub fn violations(&self) -> usize {
        self.lost.len() + self.double.len() + self.orphans.len()
    }
}

/// SplitMix64: the same seed, the same operations.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// The titles that a workspace may have now; `None`: there is none.
type Possible = BTreeSet<Option<String>>;

/// One operation and what it makes of a workspace.
struct Operation {
    slug: &'static str,
    method: &'static str,
    path: String,
    body: Option<Value>,
    /// `None`: nothing that is looked at.
    becomes: Option<Option<String>>,
}

impl Operation {
    fn choose(dice: &mut Dice, round: u32) -> Self {
        let slug = SLUGS[usize::try_from(dice.roll(SLUGS.len() as u64)).unwrap_or(0)];
        let title = format!("title-{round}");
        let path = format!("/v1/workspaces/{slug}");
        let config = json!({"app": {"title": title}});
        match dice.roll(6) {
            0 | 1 => Self {
                slug,
                method: "POST",
                path: "/v1/workspaces".to_owned(),
                body: Some(json!({"slug": slug, "tier": "pro", "app_config": config})),
                becomes: Some(Some(title)),
            },
            2 | 3 => Self {
                slug,
                method: "PATCH",
                path,
                body: Some(json!({"app_config": config})),
                becomes: Some(Some(title)),
            },
            4 => Self { slug, method: "POST", path: format!("{path}/restart"), body: Some(json!({})), becomes: None },
            _ => Self { slug, method: "DELETE", path, body: None, becomes: Some(None) },
        }
    }
}

/// Kills `rounds` times; `progress` is told after each. Stops early at a violation: the rest would only repeat it.
pub async fn run(rounds: u32, seed: u64, mut progress: impl FnMut(&Tally)) -> Tally {
    let mut dice = Dice(seed);
    let mut tally = Tally::default();
    let mut daemon = Setup::echo().prepare();
    daemon.start().await;
    let mut model: BTreeMap<&str, Possible> = SLUGS.iter().map(|slug| (*slug, [None].into())).collect();
    for round in 0..rounds {
        let admin = daemon.admin();
        let operations: Vec<_> = (0..=dice.roll(3)).map(|_| Operation::choose(&mut dice, round)).collect();
        let delay = Duration::from_millis(dice.roll(MAX_DELAY_MS));
        let mut answered = 0;
        let work = async {
            for operation in &operations {
                let reply = admin.try_call(operation.method, &operation.path, operation.body.clone()).await;
                answered += usize::from(reply.is_ok());
                let possible = model.entry(operation.slug).or_default();
                match (reply.map(|reply| reply.status.is_success()), &operation.becomes) {
                    (Ok(true), Some(becomes)) => {
                        tally.confirmed += 1;
                        *possible = [becomes.clone()].into();
                    }
                    (Ok(true), None) => tally.confirmed += 1,
                    // Refused: it exists already, or does not exist.
                    (Ok(false), _) => {}
                    (Err(_), _) => break,
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Cut off where it is, as the daemon is: what was asked and not answered may have happened.
            () = work => {}
            () = tokio::time::sleep(delay) => {}
        }
        // The one that the delay cut may have reached the daemon, or not; those after it were not sent.
        if let Some(cut) = operations.get(answered) {
            tally.unanswered += 1;
            model.entry(cut.slug).or_default().extend(cut.becomes.clone());
        }
        daemon.kill();
        daemon.start().await;
        settle(&daemon, &mut model, &mut tally).await;
        tally.rounds = round + 1;
        progress(&tally);
        if tally.violations() > 0 {
            eprintln!("{}", daemon.log_tail(60));
            break;
        }
    }
    tally
}

/// Waits until registry, processes and answers agree with each other and with what was confirmed; counts what does not.
async fn settle(daemon: &Daemon, model: &mut BTreeMap<&'static str, Possible>, tally: &mut Tally) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        match look(daemon, model).await {
            Ok(now) => {
                for (slug, title) in now {
                    model.insert(slug, [title].into());
                }
                return;
            }
            Err(wrong) if Instant::now() > deadline => {
                match wrong {
                    Wrong::Lost(text) => tally.lost.push(text),
                    Wrong::Double(text) => tally.double.push(text),
                    Wrong::Orphan(text) => tally.orphans.push(text),
                }
                return;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(60)).await,
        }
    }
}

enum Wrong {
    Lost(String),
    Double(String),
    Orphan(String),
}

async fn look(
    daemon: &Daemon,
    model: &BTreeMap<&'static str, Possible>,
) -> Result<Vec<(&'static str, Option<String>)>, Wrong> {
    let admin = daemon.admin();
    let mut now = Vec::new();
    let mut pids = BTreeMap::new();
    for (slug, possible) in model {
        let lost = |text: String| Wrong::Lost(format!("{slug}: {text}; possible: {possible:?}"));
        let workspace = match admin.try_call("GET", &format!("/v1/workspaces/{slug}"), None).await {
            Ok(reply) if reply.status == 404 => Value::Null,
            Ok(reply) => reply.json(),
            Err(error) => return Err(lost(error.to_string())),
        };
        if workspace["deleting"] == true {
            return Err(lost("still being deleted".to_owned()));
        }
        let title = workspace["spec"]["app_config"]["app"]["title"].as_str().map(str::to_owned);
        if !possible.contains(&title) {
            return Err(lost(format!("it is {title:?}")));
        }
        if let Some(title) = &title {
            if !super::runs(&workspace) {
                return Err(lost(format!("it does not run: {}", workspace["status"])));
            }
            let account = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await.json();
            if account["title"] != title.as_str() {
                return Err(lost(format!("it serves {}", account["title"])));
            }
            pids.insert(account["pid"].as_u64().unwrap_or_default(), *slug);
        }
        now.push((*slug, title));
    }
    for found in daemon.instances() {
        if pids.contains_key(&u64::from(found.pid)) {
            continue;
        }
        let path = found.cwd.display().to_string();
        let owner = pids.values().find(|slug| path.contains(&format!("/workspaces/{slug}-")));
        return Err(match owner {
            Some(slug) => Wrong::Double(format!("{slug}: {found:?}")),
            None => Wrong::Orphan(format!("{found:?}")),
        });
    }
    Ok(now)
}
