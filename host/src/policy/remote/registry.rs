//! Talking to registries: which digest a tag has, pulling, pushing.
//!
//! A policy is an artifact as the CNCF's Wasm working group lays it out: one layer `application/wasm`. Its signed statement, if it
//! has one, is an annotation of the manifest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use oci_client::{
    Client, RegistryOperation,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest, WASM_LAYER_MEDIA_TYPE},
};
use orbit_engine::MAX_MODULE_BYTES;
use serde::Serialize;
use serde_json::json;

use super::{
    Access, AccessError, OciReference,
    access::Material,
    advice::{Advice, Asked},
    follow::MAX_REFERENCES,
};
use crate::ids::Digest;

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
/// Wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A whole question or transfer.
const WHOLE: Duration = Duration::from_secs(120);

/// Why a registry did not do what was asked: which one, the reason, the next step.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It can't be reached, refuses, or speaks something else.
    #[error("registry {registry} {}; {}", advice.reason, advice.next)]
    Registry {
        /// Which one.
        registry: String,
        /// Reason and next step.
        advice: Advice,
        /// What the client said; none where it said nothing in time.
        #[source]
        source: Option<Box<OciDistributionError>>,
    },
    /// What it holds is no policy, or too large.
    #[error("registry {registry} has something else there: {reason}; push the policy anew (`orbitd policy push`)")]
    Content {
        /// Which one.
        registry: String,
        /// Why.
        reason: String,
    },
    /// What is needed to ask it is not there.
    #[error("registry {registry} can't be asked: {source}")]
    Access {
        /// Which one.
        registry: String,
        /// Password or authority.
        #[source]
        source: AccessError,
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

/// All registries.
pub struct Registries {
    access: Access,
    /// By registry, with what each was made of. A client remembers the first account that it was given for as long as it lives; so another
    /// password, or another authority, is another client.
    clients: Mutex<HashMap<String, (Material, Client)>>,
}

/// One registry, ready to be asked.
struct Line<'a> {
    reference: &'a OciReference,
    access: &'a Access,
    material: Material,
    client: Client,
}

impl Registries {
    /// Asks nobody yet.
    pub fn new(access: Access) -> Self {
        Self { access, clients: Mutex::default() }
    }

    /// Digest of the manifest that a reference names now.
    pub async fn digest(&self, reference: &OciReference) -> Result<String, RegistryError> {
        let line = self.line(reference)?;
        line.within(line.client.fetch_manifest_digest(reference.inner(), &line.material.auth)).await
    }

    /// Manifest, module and signature.
    pub async fn pull(&self, reference: &OciReference) -> Result<Pulled, RegistryError> {
        let line = self.line(reference)?;
        let asked = line.client.pull_image_manifest(reference.inner(), &line.material.auth);
        let (manifest, digest) = line.within(asked).await?;
        if reference.pinned().is_some_and(|pinned| pinned != digest) {
            return Err(line.content(format!("it answered with another manifest, {digest}")));
        }
        let layers: Vec<_> = manifest
            .layers
            .iter()
            .take(MAX_LAYERS)
            .filter(|layer| layer.media_type == LAYER || layer.media_type == WASM_LAYER_MEDIA_TYPE)
            .collect();
        let [layer] = layers.as_slice() else {
            return Err(line.content(format!("{} layers of type {LAYER}, a policy has one", layers.len())));
        };
        let too_long = || line.content(format!("the module is longer than {MAX_MODULE_BYTES} bytes"));
        if usize::try_from(layer.size).is_ok_and(|size| size > MAX_MODULE_BYTES) {
            return Err(too_long());
        }
        // None: it is too long.
        let transfer = async {
            let mut stream = line.client.pull_blob_stream(reference.inner(), *layer).await?.stream;
            let mut module = Vec::new();
            while let Some(part) = stream.next().await {
                let part = part.map_err(OciDistributionError::IoError)?;
                if module.len() + part.len() > MAX_MODULE_BYTES {
                    return Ok(None);
                }
                module.extend_from_slice(&part);
            }
            Ok(Some(module))
        };
        let module = line.within(transfer).await?.ok_or_else(too_long)?;
        if Digest::of(&module).to_string() != layer.digest {
            return Err(line.content("the module is not what its digest says".to_owned()));
        }
        let signature = manifest.annotations.and_then(|mut all| all.remove(SIGNATURE));
        if signature.as_ref().is_some_and(|text| text.len() > MAX_SIGNATURE_BYTES) {
            return Err(line.content(format!("its signature is longer than {MAX_SIGNATURE_BYTES} bytes")));
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
        let line = self.line(reference)?;
        let digest = Digest::of(&module);
        // The same module always makes the same manifest: no date in it.
        let config = json!({"architecture": "wasm", "os": "wasip2", "layerDigests": [digest]}).to_string();
        let layers = [ImageLayer::new(module, LAYER.to_owned(), None)];
        let config = Config::new(config.into_bytes(), CONFIG.to_owned(), None);
        let annotations = signature.map(|text| BTreeMap::from([(SIGNATURE.to_owned(), text)]));
        let mut manifest = OciImageManifest::build(&layers, &config, annotations);
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
        let auth = &line.material.auth;
        line.within(line.client.push(reference.inner(), &layers, config, auth, Some(manifest))).await?;
        let manifest = line.within(line.client.fetch_manifest_digest(reference.inner(), auth)).await?;
        Ok(Pushed { manifest, module: digest })
    }

    /// Reads what it takes to ask, and makes a client where that has changed.
    fn line<'a>(&'a self, reference: &'a OciReference) -> Result<Line<'a>, RegistryError> {
        let material = self.access.material(reference)?;
        let registry = reference.registry();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(registry) {
            Some((known, client)) if *known == material => client.clone(),
            _ => {
                let client = self.client(&material).map_err(|error| RegistryError::Access {
                    registry: registry.to_owned(),
                    source: self.access.unusable(registry, &error),
                })?;
                if clients.len() >= MAX_REFERENCES {
                    clients.clear();
                }
                clients.insert(registry.to_owned(), (material.clone(), client.clone()));
                client
            }
        };
        Ok(Line { reference, access: &self.access, material, client })
    }

    fn client(&self, material: &Material) -> Result<Client, OciDistributionError> {
        let authority = |pem: &Vec<u8>| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() };
        // Not `Client::new`, which goes on with other settings than these where they don't work.
        Client::try_from(ClientConfig {
            protocol: if material.https { ClientProtocol::Https } else { ClientProtocol::Http },
            tls_certs_only: material.authorities.iter().map(authority).collect(),
            connect_timeout: Some(CONNECT.min(self.access.timeout)),
            read_timeout: Some(self.access.timeout),
            // An index of several platforms is no policy.
            platform_resolver: None,
            ..ClientConfig::default()
        })
    }
}

// === impl Line ===

impl Line<'_> {
    async fn within<R>(
        &self,
        asked: impl Future<Output = Result<R, OciDistributionError>>,
    ) -> Result<R, RegistryError> {
        match tokio::time::timeout(WHOLE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let token = self.token_error(&error).await;
                Err(self.error(self.asked().advice(&error, token.as_ref()), Some(error)))
            }
            Err(_) => Err(self.error(self.asked().too_slow(WHOLE), None)),
        }
    }

    /// A client whose token service gives it nothing asks without a token and only hears 401: ask the service again, for its reason.
    async fn token_error(&self, error: &OciDistributionError) -> Option<OciDistributionError> {
        let refused = match error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::ServerError { code: 401, .. } => {
                true
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                envelope.errors.iter().any(|error| error.code == OciErrorCode::Unauthorized)
            }
            _ => false,
        };
        if !refused {
            return None;
        }
        let asked = self.client.auth(self.reference.inner(), &self.material.auth, RegistryOperation::Pull);
        tokio::time::timeout(WHOLE, asked).await.ok()?.err()
    }

    fn asked(&self) -> Asked<'_> {
        Asked { reference: self.reference, access: self.access }
    }

    fn error(&self, advice: Advice, source: Option<OciDistributionError>) -> RegistryError {
        let registry = self.reference.registry().to_owned();
        RegistryError::Registry { registry, advice, source: source.map(Box::new) }
    }

    fn content(&self, reason: String) -> RegistryError {
        RegistryError::Content { registry: self.reference.registry().to_owned(), reason }
    }
}
