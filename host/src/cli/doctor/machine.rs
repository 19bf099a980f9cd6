//! Looks at this machine: settings, folders, files, ports, Node. Changes nothing.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{Finding, daemon::Seen, verdicts};
use crate::{
    app::{self, ports::listener_on, preflight},
    driver::{Confinement, Distribution, can_suspend},
    settings::Settings,
};

/// The settings themselves.
pub fn settings(file: Option<&Path>, settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "settings";
    let from = file.map_or("no file: all defaults".to_owned(), |file| file.display().to_string());
    let problems =
        preflight::problems(settings).into_iter().map(|problem| Finding::fail(CHECK, problem, "mend the settings"));
    let warnings = preflight::warnings(settings)
        .into_iter()
        .map(|warning| Finding::warn(CHECK, warning, "see the settings' guide"));
    let mut findings: Vec<Finding> = problems.chain(warnings).collect();
    if settings.auth.issuers.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            "auth.issuers is empty: every request to a workspace is a 401",
            "add an [[auth.issuers]]; for a trial `orbitd token --help` says how",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, from));
    }
    findings
}

/// Everything else of this machine. `seen` is whether the daemon of these settings answered.
pub async fn look(settings: &Settings, seen: Seen) -> Vec<Finding> {
    let up = seen == Seen::Up;
    let data = &settings.data_dir;
    let mut findings = vec![data_dir(data), lock(data, up)];
    findings.extend(free_space(data));
    findings.push(verdicts::private_file("master key", &data.join("master.key"), mode(&data.join("master.key"))));
    findings.push(verdicts::private_file("admin token", &data.join("admin.token"), mode(&data.join("admin.token"))));
    findings.push(secrets_dir(&settings.secrets_dir));
    findings.push(policies_dir(&settings.policies_dir));
    findings.extend(source_dir(settings));
    findings.extend(distribution(settings).await);
    for (check, setting, port) in [
        ("proxy port", "proxy.listen", settings.proxy.listen.port()),
        ("admin port", "admin.listen", settings.admin.listen.port()),
    ] {
        if port != 0 {
            findings.push(verdicts::port(check, setting, port, listener_on(port), up));
        }
    }
    findings.push(verdicts::swap(&fs::read_to_string("/proc/swaps").unwrap_or_default(), can_suspend()));
    findings
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode())
}

/// The folder itself, or for a missing one the nearest folder above that exists.
fn existing(path: &Path) -> &Path {
    let found = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    // The parent of a relative name is the empty path, which is the current folder.
    if found.as_os_str().is_empty() { Path::new(".") } else { found }
}

fn data_dir(data: &Path) -> Finding {
    const CHECK: &str = "data dir";
    let at = existing(data);
    let writable = rustix::fs::access(at, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    match (writable, fs::metadata(data)) {
        (Err(error), _) => Finding::fail(
            CHECK,
            format!("{} can't be written: {error}", at.display()),
            "make it writable for the daemon's user, or set data_dir",
        ),
        (Ok(()), Err(_)) => {
            Finding::ok(CHECK, format!("{} is not there yet; the first start makes it", data.display()))
        }
        (Ok(()), Ok(metadata)) if !metadata.is_dir() => {
            Finding::fail(CHECK, format!("{} is no folder", data.display()), "set data_dir to a folder")
        }
        (Ok(()), Ok(metadata)) if metadata.mode() & 0o066 != 0 => Finding::warn(
            CHECK,
            format!("others may look into {} (mode {:04o})", data.display(), metadata.mode() & 0o7777),
            format!("chmod 700 {}", data.display()),
        ),
        (Ok(()), Ok(_)) => Finding::ok(CHECK, data.display().to_string()),
    }
}

fn lock(data: &Path, daemon_up: bool) -> Finding {
    const CHECK: &str = "daemon lock";
    let Some(held) = app::data_dir_in_use(data) else {
        return Finding::ok(CHECK, "this system does not tell who holds it");
    };
    match (held, daemon_up) {
        (true, true) => Finding::ok(CHECK, "held by the running daemon"),
        (false, false) => Finding::ok(CHECK, "no daemon holds the data directory"),
        (true, false) => Finding::warn(
            CHECK,
            format!("a daemon holds {} and its admin API does not answer", data.display()),
            "it starts, stops or hangs, or listens elsewhere: look at its log, or pass --admin",
        ),
        (false, true) => Finding::warn(
            CHECK,
            format!("the daemon that answers does not use {}", data.display()),
            "it runs with other settings than these: pass its --config",
        ),
    }
}

fn free_space(data: &Path) -> Option<Finding> {
    let space = rustix::fs::statvfs(existing(data)).ok()?;
    Some(verdicts::free_space(space.f_bavail.saturating_mul(space.f_frsize)))
}

fn secrets_dir(path: &Path) -> Finding {
    const CHECK: &str = "secrets dir";
    match mode(path) {
        None => {
            Finding::ok(CHECK, format!("{} is not there; needed once a workspace refers to a secret", path.display()))
        }
        Some(mode) if mode & 0o007 != 0 => Finding::warn(
            CHECK,
            format!("everybody may look into {} (mode {:04o})", path.display(), mode & 0o7777),
            format!("chmod 700 {}", path.display()),
        ),
        Some(_) => Finding::ok(CHECK, path.display().to_string()),
    }
}

fn policies_dir(path: &Path) -> Finding {
    const CHECK: &str = "policies dir";
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            return Finding::fail(
                CHECK,
                format!("cannot read {}: {error}", path.display()),
                "set policies_dir to the folder with <tier>.toml",
            );
        }
    };
    let mut tiers: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    tiers.sort();
    match tiers.is_empty() {
        true => Finding::fail(
            CHECK,
            format!("{} holds no <tier>.toml", path.display()),
            "add a tier: without one no workspace can be made",
        ),
        false => Finding::ok(CHECK, format!("{}: tiers {}", path.display(), tiers.join(", "))),
    }
}

fn source_dir(settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "config source";
    let path = settings.source.directory.as_ref()?.path.join("workspaces");
    Some(match fs::read_dir(&path) {
        Ok(entries) => Finding::ok(CHECK, format!("{}: {} entries", path.display(), entries.count())),
        Err(error) => Finding::fail(
            CHECK,
            format!("cannot read {}: {error}", path.display()),
            "make it, or mend source.directory.path",
        ),
    })
}

async fn distribution(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "distribution";
    let distribution = match Distribution::open(&settings.distribution, settings.instances.node.as_deref()).await {
        Ok(distribution) => distribution,
        Err(error) => return vec![Finding::fail(CHECK, error.to_string(), "no instance can start without it")],
    };
    let text = format!(
        "{} {}, {} plugins, {}",
        distribution.name,
        distribution.version,
        distribution.plugins.len(),
        distribution.node.display()
    );
    let mut findings = vec![match &distribution.warning {
        None => Finding::ok(CHECK, text),
        Some(warning) => Finding::warn(CHECK, format!("{text}\n{warning}"), "install Node 22 and set instances.node"),
    }];
    let measures = Confinement::survey(&settings.confine, &distribution, &settings.data_dir);
    findings.extend(verdicts::confinement(&measures, settings.confine.mode));
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[tokio::test]
    async fn an_empty_machine_is_told_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = Settings {
            data_dir: dir.path().join("data"),
            policies_dir: dir.path().join("policies"),
            distribution: dir.path().join("distribution"),
            secrets_dir: dir.path().join("secrets"),
            ..Settings::default()
        };
        let findings = look(&settings, Seen::Down).await;
        let verdict =
            |check: &str| findings.iter().find(|finding| finding.check == check).map(|finding| finding.verdict);
        assert_eq!(verdict("data dir"), Some(Verdict::Ok), "{findings:?}");
        assert_eq!(verdict("policies dir"), Some(Verdict::Fail));
        assert_eq!(verdict("distribution"), Some(Verdict::Fail));
        assert!(!settings.data_dir.exists(), "doctor changes nothing");
        assert!(findings.iter().all(|finding| (finding.verdict == Verdict::Ok) == finding.next.is_none()));
    }
}
