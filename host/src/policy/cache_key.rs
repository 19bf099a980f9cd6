//! The key that signs compiled code. It protects against whoever can write the cache folder and can't read the key.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Reads the 32 bytes of a key file (64 hex digits, mode 0600), or makes it. A file that is damaged or that others may read is
/// replaced: the key guards a cache, and a new one only costs a compilation.
pub fn load_or_create_cache_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    if let Ok(file) = fs::File::open(path) {
        let private = file.metadata()?.mode() & 0o077 == 0;
        let mut text = String::new();
        if private
            && file.take(256).read_to_string(&mut text).is_ok()
            && hex::decode_to_slice(text.trim(), &mut key).is_ok()
        {
            return Ok(key);
        }
        fs::remove_file(path)?;
    }
    aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("the system's random generator failed"))?;
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(hex::encode(key).as_bytes())?;
    fs::rename(&partial, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_and_an_open_one_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy-cache.key");
        let key = load_or_create_cache_key(&path).expect("made");
        assert_eq!(load_or_create_cache_key(&path).expect("read"), key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert_ne!(load_or_create_cache_key(&path).expect("made again"), key);
    }
}
