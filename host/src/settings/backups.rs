//! Where backups go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where backups go: a directory, or a bucket of an S3-compatible store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSettings {
    /// A directory; without it and without `s3`: `<data_dir>/backups`.
    pub directory: Option<PathBuf>,
    /// A bucket.
    pub s3: Option<S3Settings>,
}

/// A bucket of an S3-compatible store. Without keys here the usual variables (`AWS_ACCESS_KEY_ID`…) or the machine's own role count.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// Folder in it; without it the bucket's top.
    #[serde(default)]
    pub prefix: String,
    /// Of a store that is not Amazon's: `https://…`; plain http only on loopback.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Its region.
    #[serde(default = "region")]
    pub region: String,
    /// Access key id: no secret.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// A file that holds the secret access key.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
}

fn region() -> String {
    "us-east-1".to_owned()
}
