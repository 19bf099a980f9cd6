//! Opens the directory or the bucket that the settings name.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, prefix::PrefixStore,
};

use super::BackupError;
use crate::settings::{BackupSettings, S3Settings};

/// Of one request to a bucket.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Over all tries of one request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_SECRET_BYTES: u64 = 4 << 10;

/// The store and how it is called.
pub(super) fn open(settings: &BackupSettings, default: &Path) -> Result<(Arc<dyn ObjectStore>, String), BackupError> {
    match (&settings.directory, &settings.s3) {
        (Some(_), Some(_)) => Err(BackupError::Place {
            place: "two places".to_owned(),
            reason: "set backups.directory or [backups.s3], not both".to_owned(),
        }),
        (directory, None) => local(directory.as_deref().unwrap_or(default)),
        (None, Some(s3)) => bucket(s3),
    }
}

fn local(directory: &Path) -> Result<(Arc<dyn ObjectStore>, String), BackupError> {
    let place = directory.display().to_string();
    let failed = |reason: String| BackupError::Place { place: place.clone(), reason };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| failed(error.to_string()))?;
    // A backup that returned is on the disk; folders of removed ones go.
    Ok((Arc::new(store.with_fsync(true).with_automatic_cleanup(true)), place))
}

fn bucket(s3: &S3Settings) -> Result<(Arc<dyn ObjectStore>, String), BackupError> {
    let place = format!("s3://{}/{}", s3.bucket, s3.prefix);
    let failed = |reason: String| BackupError::Place { place: place.clone(), reason };
    let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, max_retries: 5, ..RetryConfig::default() };
    let options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(Duration::from_secs(10));
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_retry(retry)
        .with_client_options(options);
    if let Some(endpoint) = &s3.endpoint {
        let loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        let plain = loopback.iter().any(|start| endpoint.starts_with(start));
        if !plain && !endpoint.starts_with("https://") {
            return Err(failed(format!("endpoint = {endpoint:?} must be https (http only on loopback)")));
        }
        builder = builder.with_endpoint(endpoint).with_allow_http(plain);
    }
    if let Some(id) = &s3.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(file) = &s3.secret_access_key_file {
        builder = builder.with_secret_access_key(secret(file)?);
    }
    let store = builder.build().map_err(|error| failed(error.to_string()))?;
    let store: Arc<dyn ObjectStore> = match s3.prefix.as_str() {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, prefix)),
    };
    Ok((store, place))
}

fn secret(file: &Path) -> Result<String, BackupError> {
    use std::io::Read;
    let failed = |source| BackupError::File { operation: "read", path: file.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(file).map_err(failed)?.take(MAX_SECRET_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}
