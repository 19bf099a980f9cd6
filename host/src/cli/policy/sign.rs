//! `orbitd policy sign`: a signed statement beside a module.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use orbit_engine::{World, inspect};
use serde_json::{Map, Value, json};

use super::{Failure, Global, files, output, workbench::Module};
use crate::{
    ids::Digest,
    policy::trust::{Envelope, PrivateKey, SIGNATURE_SUFFIX, Statement, settings_digest},
};

const EXAMPLES: &str = "\
A tier with a [trust] section takes only what its keys signed, and never a signed version below one that it took before: so an
old module that allowed more can't come back. Without --signed-version the version is the time, in seconds since 1970.

With --settings or --settings-file the signature is good for these settings alone, all of them: a text of Rego or Cedar can't be swapped
then. Bindings that have signed_settings = true take nothing less. Such a signature is one binding's: --out puts it where the binding's
`signature` says.

Examples:
  orbitd policy sign office-hours.wasm --key ~/policy.key
  orbitd policy sign rego.wasm --settings-file policy=access.rego --key ~/policy.key --out access.rego.sig
  orbitd policy sign build/out.wasm --name office-hours --key ~/policy.key --signed-version 12";

/// What says who signs what.
#[derive(Debug, Args)]
pub struct Signing {
    /// The policy's own name, as it describes itself; without it the file's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A number that grows with each module that is to replace another [default: the time]
    #[arg(long, value_name = "N")]
    signed_version: Option<u64>,
    /// Sign it for these settings only (.toml or .json), as the tier's file has them
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The same for a setting whose text is in a file of its own; may be given several times
    #[arg(long, value_name = "KEY=FILE")]
    settings_file: Vec<SettingsFile>,
}

/// `policy=access.rego`.
#[derive(Debug, Clone)]
struct SettingsFile {
    key: String,
    file: PathBuf,
}

impl FromStr for SettingsFile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, file)) if !key.is_empty() && !file.is_empty() => {
                Ok(Self { key: key.to_owned(), file: file.into() })
            }
            _ => Err("write it as KEY=FILE, for example policy=access.rego".to_owned()),
        }
    }
}

/// Flags of `sign`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SignArgs {
    /// The module; the signature goes beside it, as <FILE>.sig
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key, from `orbitd policy keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Put the signature here instead of beside the module
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

/// Signs.
///
/// # Errors
/// Module or key can't be read, or the module is no policy.
pub fn run(global: &Global, args: &SignArgs) -> Result<(), Failure> {
    let module = Module::read(&args.file)?;
    let (envelope, statement) = args.signing.sign(&module, &args.key)?;
    let path = args.out.clone().unwrap_or_else(|| signature_path(&args.file));
    let text = serde_json::to_string(&envelope).map_err(|error| Failure::failed(error.to_string()))?;
    let partial = path.with_extension("sig.partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    if global.json {
        output::json(&json!({"signature": path, "statement": statement}));
    } else {
        let Statement { name, world, version, digest, settings } = &statement;
        let settings = settings.map(|settings| format!(", settings {settings}")).unwrap_or_default();
        output::line(format!("{}: {world} {name}, version {version}, {digest}{settings}", path.display()));
    }
    Ok(())
}

/// `<module>.sig`.
pub fn signature_path(module: &Path) -> PathBuf {
    let mut path = module.as_os_str().to_owned();
    path.push(SIGNATURE_SUFFIX);
    path.into()
}

impl Signing {
    /// Makes the statement and signs it. Nothing of the module is run: who signs need not trust it.
    pub fn sign(&self, module: &Module, key: &Path) -> Result<(Envelope, Statement), Failure> {
        let key = PrivateKey::read(key).map_err(|error| Failure::usage(error.to_string()))?;
        let no = |reason: String| Failure::usage(format!("cannot sign {}: {reason}", module.path.display()));
        let world = World::of(&inspect(&module.bytes).exports).map_err(|error| no(error.to_string()))?;
        let stem = module.path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let name = self.name.clone().or(stem).ok_or_else(|| no("its file has no name; pass --name".to_owned()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let statement = Statement {
            digest: Digest::of(&module.bytes),
            name,
            world: world.name().to_owned(),
            version: self.signed_version.unwrap_or(now),
            settings: self.settings()?,
        };
        Ok((Envelope::sign(&statement, &key), statement))
    }

    /// Of the settings, where it is to be good for these alone.
    fn settings(&self) -> Result<Option<Digest>, Failure> {
        if self.settings.is_none() && self.settings_file.is_empty() {
            return Ok(None);
        }
        let mut settings = match &self.settings {
            Some(file) => files::object(file, "the settings")?,
            None => Map::new(),
        };
        for SettingsFile { key, file } in &self.settings_file {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("cannot read the text {}: {error}", file.display())))?;
            if settings.insert(key.clone(), text.into()).is_some() {
                return Err(Failure::usage(format!("the setting {key} is there twice: keep one")));
            }
        }
        Ok(Some(settings_digest(&Value::Object(settings).to_string())))
    }
}
