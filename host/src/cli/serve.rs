//! `orbitd serve`.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use clap::Args;

use super::{Global, connection, failure::Failure};
use crate::{
    app::{self, ServeOptions},
    settings::{DirectorySourceSettings, OnRemoved, Settings},
};

const EXAMPLES: &str = "\
Examples:
  orbitd serve                                   with ./orbitd.toml, or all defaults
  orbitd serve --config /etc/orbitd.toml
  ORBITD__PROXY__BASE_DOMAIN=dev.example.com orbitd serve
  orbitd serve --source ./config --stop-instances   a trial: what was started ends with the daemon

Signals:
  SIGTERM, SIGINT   stop: drain requests, leave the instances running for the next daemon (unless --stop-instances);
                    each further one cuts the wait under way
  SIGHUP            read policies and config source again

One line on stdout says that it is ready (with --json: a JSON object with all addresses). The log goes to stderr.";

/// Flags of `serve`; each wins over the environment and the file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Stop all instances at the end, too
    #[arg(long)]
    stop_instances: bool,
    /// data_dir: registry, keys, instances, logs
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// policies_dir: <tier>.toml and policy modules
    #[arg(long, value_name = "DIR")]
    policies_dir: Option<PathBuf>,
    /// distribution: the installed Backstage
    #[arg(long, value_name = "DIR")]
    distribution: Option<PathBuf>,
    /// secrets_dir: <dir>/<slug>/<name>
    #[arg(long, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
    /// source.directory.path: the folder that holds workspaces/
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// proxy.listen: where users come in
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// admin.listen: where operators come in
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
    /// proxy.base_domain: a workspace is at <slug>.<base domain>
    #[arg(long, value_name = "DOMAIN")]
    base_domain: Option<String>,
    /// Take over from a running daemon; `orbitd upgrade` starts this
    #[arg(long, hide = true)]
    takeover: bool,
    /// log.filter: info, orbitd=debug,info …
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Runs the daemon until it is told to stop. `listeners`: those that a supervisor keeps open.
pub async fn run(global: &Global, args: ServeArgs, listeners: Vec<TcpListener>) -> Result<(), Failure> {
    let mut settings = connection::load_settings(global)?;
    let options = ServeOptions {
        stop_instances: args.stop_instances,
        json: global.json,
        takeover: args.takeover,
        listeners,
        program: std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program's own path: {error}")))?,
    };
    lay_flags(&mut settings, args);
    Ok(app::serve(settings, options).await?)
}

fn lay_flags(settings: &mut Settings, args: ServeArgs) {
    fn set<T>(value: &mut T, flag: Option<T>) {
        if let Some(flag) = flag {
            *value = flag;
        }
    }
    set(&mut settings.data_dir, args.data_dir);
    set(&mut settings.policies_dir, args.policies_dir);
    set(&mut settings.distribution, args.distribution);
    set(&mut settings.secrets_dir, args.secrets_dir);
    set(&mut settings.proxy.listen, args.listen);
    set(&mut settings.admin.listen, args.admin_listen);
    set(&mut settings.proxy.base_domain, args.base_domain);
    set(&mut settings.log.filter, args.log);
    if let Some(path) = args.source {
        match &mut settings.source.directory {
            Some(directory) => directory.path = path,
            none => *none = Some(DirectorySourceSettings { path, poll_s: 30, on_removed: OnRemoved::default() }),
        }
    }
}
