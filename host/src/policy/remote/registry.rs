//! Talking to registries: which digest a tag has, pulling, pushing.
//!
//! A policy is an artifact as the CNCF's Wasm working group lays it out: one layer `application/wasm`. Its signed statement, if it
//! has one, is an annotation of the manifest.

use std::{collections::BTreeMap, fs, io::Read, path::PathBuf, time::Duration};

use futures_util::StreamExt;
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::OciDistributionError,
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest, WASM_LAYER_MEDIA_TYPE},
    secrets::RegistryAuth,
};
use orbit_engine::MAX_MODULE_BYTES;
use serde::Serialize;
use serde_json::json;

use super::OciReference;
use crate::{ids::Digest, settings::OciAccount};

/// Media type of the layer.
const LAYER: &str = "application/wasm";
/// Media type of the config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The annotation with the envelope's JSON text.
const SIGNATURE: &str = "dev.orbit.policy.signature";
/// Layers of a policy's manifest that are looked at.
const MAX_LAYERS: usize = 8;
/// Bytes of an annotation with a signature.
const MAX_SIGNATURE_BYTES: usize = 16 << 10;
/// Bytes of a password file.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;
/// Wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence of a registry.
const SILENCE: Duration = Duration::from_secs(15);
/// A whole question or transfer.
const WHOLE: Duration = Duration::from_secs(120);

/// Why a registry did not do what was asked; without the client's internals.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry can't be reached, refuses, or speaks something else.
    #[error("{0}")]
    Registry(#[source] Box<OciDistributionError>),
    /// No whole answer in time.
    #[error("no whole answer within {} s", WHOLE.as_secs())]
    Timeout,
    /// What it holds is no policy, or too large.
    #[error("{0}")]
    Content(String),
    /// The password's file can't be read.
    #[error("cannot read the password file {}: {source}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a reference holds.
pub struct Pulled {
    /// Digest of the manifest.
    pub manifest: String,
    /// The module's bytes, checked against the manifest.
    pub module: Vec<u8>,
    /// Text of its envelope.
    pub signature: Option<String>,
}

/// What a push made.
#[derive(Debug, Clone, Serialize)]
pub struct Pushed {
    /// Digest of the manifest: `oci://…@<this>` never changes.
    pub manifest: String,
    /// Digest of the module.
    pub module: Digest,
}

/// Clients for all registries.
pub struct Registries {
    accounts: BTreeMap<String, OciAccount>,
    https: Client,
    /// For loopback only.
    http: Client,
}

impl Registries {
    /// `accounts` by registry (`registry.example.org:5000`); others are asked anonymously.
    pub fn new(accounts: BTreeMap<String, OciAccount>) -> Self {
        let client = |protocol| {
            Client::new(ClientConfig {
                protocol,
                connect_timeout: Some(CONNECT),
                read_timeout: Some(SILENCE),
                // An index of several platforms is no policy.
                platform_resolver: None,
                ..ClientConfig::default()
            })
        };
        Self { accounts, https: client(ClientProtocol::Https), http: client(ClientProtocol::Http) }
    }

    /// Digest of the manifest that a reference names now.
    pub async fn digest(&self, reference: &OciReference) -> Result<String, RegistryError> {
        let auth = self.auth(reference)?;
        within(self.client(reference).fetch_manifest_digest(reference.inner(), &auth)).await
    }

    /// Manifest, module and signature.
    pub async fn pull(&self, reference: &OciReference) -> Result<Pulled, RegistryError> {
        let auth = self.auth(reference)?;
        let client = self.client(reference);
        let (manifest, digest) = within(client.pull_image_manifest(reference.inner(), &auth)).await?;
        if reference.pinned().is_some_and(|pinned| pinned != digest) {
            return Err(RegistryError::Content(format!("the registry answered with another manifest, {digest}")));
        }
        let layers: Vec<_> = manifest
            .layers
            .iter()
            .take(MAX_LAYERS)
            .filter(|layer| layer.media_type == LAYER || layer.media_type == WASM_LAYER_MEDIA_TYPE)
            .collect();
        let [layer] = layers.as_slice() else {
            let reason = format!("it has {} layers of type {LAYER}, a policy has one", layers.len());
            return Err(RegistryError::Content(reason));
        };
        let too_long = || RegistryError::Content(format!("the module is longer than {MAX_MODULE_BYTES} bytes"));
        if usize::try_from(layer.size).is_ok_and(|size| size > MAX_MODULE_BYTES) {
            return Err(too_long());
        }
        let module = tokio::time::timeout(WHOLE, async {
            let mut stream =
                client.pull_blob_stream(reference.inner(), *layer).await.map_err(RegistryError::from)?.stream;
            let mut module = Vec::new();
            while let Some(part) = stream.next().await {
                let part = part.map_err(|error| RegistryError::from(OciDistributionError::IoError(error)))?;
                if module.len() + part.len() > MAX_MODULE_BYTES {
                    return Err(too_long());
                }
                module.extend_from_slice(&part);
            }
            Ok(module)
        });
        let module = module.await.map_err(|_| RegistryError::Timeout)??;
        if Digest::of(&module).to_string() != layer.digest {
            return Err(RegistryError::Content("the module is not what its digest says".to_owned()));
        }
        let signature = manifest.annotations.and_then(|mut all| all.remove(SIGNATURE));
        if signature.as_ref().is_some_and(|text| text.len() > MAX_SIGNATURE_BYTES) {
            return Err(RegistryError::Content(format!("its signature is longer than {MAX_SIGNATURE_BYTES} bytes")));
        }
        Ok(Pulled { manifest: digest, module, signature })
    }

    /// Puts a module there; `signature` is its envelope's text.
    pub async fn push(
        &self,
        reference: &OciReference,
        module: Vec<u8>,
        signature: Option<String>,
    ) -> Result<Pushed, RegistryError> {
        let auth = self.auth(reference)?;
        let client = self.client(reference);
        let digest = Digest::of(&module);
        // The same module always makes the same manifest: no date in it.
        let config = json!({"architecture": "wasm", "os": "wasip2", "layerDigests": [digest]}).to_string();
        let layers = [ImageLayer::new(module, LAYER.to_owned(), None)];
        let config = Config::new(config.into_bytes(), CONFIG.to_owned(), None);
        let annotations = signature.map(|text| BTreeMap::from([(SIGNATURE.to_owned(), text)]));
        let mut manifest = OciImageManifest::build(&layers, &config, annotations);
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
        within(client.push(reference.inner(), &layers, config, &auth, Some(manifest))).await?;
        let manifest = within(client.fetch_manifest_digest(reference.inner(), &auth)).await?;
        Ok(Pushed { manifest, module: digest })
    }

    fn client(&self, reference: &OciReference) -> &Client {
        if reference.is_loopback() { &self.http } else { &self.https }
    }

    fn auth(&self, reference: &OciReference) -> Result<RegistryAuth, RegistryError> {
        let Some(account) = self.accounts.get(reference.registry()) else { return Ok(RegistryAuth::Anonymous) };
        let failed = |source| RegistryError::Password { path: account.password_file.clone(), source };
        let mut password = String::new();
        let file = fs::File::open(&account.password_file).map_err(failed)?;
        file.take(MAX_PASSWORD_BYTES).read_to_string(&mut password).map_err(failed)?;
        Ok(RegistryAuth::Basic(account.username.clone(), password.trim_end().to_owned()))
    }
}

async fn within<R>(asked: impl Future<Output = Result<R, OciDistributionError>>) -> Result<R, RegistryError> {
    tokio::time::timeout(WHOLE, asked).await.map_err(|_| RegistryError::Timeout)?.map_err(RegistryError::from)
}

impl RegistryError {
    /// With what caused it, each said once, on one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(inner) = source {
            let said = inner.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = inner.source();
        }
        text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl From<OciDistributionError> for RegistryError {
    fn from(error: OciDistributionError) -> Self {
        Self::Registry(Box::new(error))
    }
}
