//! Values of secrets that a workspace's config refers to: `<secrets dir>/<slug>/<file>`, read at render and at each start. No link is
//! followed, nothing but a regular file is read, and no value ever reaches a message.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};

use crate::{ids::Slug, model::SecretRef};

const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A secret that can't be had: the thing, the reason, the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name} can't be read from {file}: {reason}")]
pub(super) struct SecretError {
    name: String,
    file: String,
    reason: String,
}

/// All values; without one trailing line end each.
pub(super) fn read_all(
    dir: &Path,
    slug: &Slug,
    references: &BTreeMap<String, SecretRef>,
) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    references
        .iter()
        .map(|(name, SecretRef::File(file))| {
            let path = dir.join(slug.as_str());
            read(&path, file).map(|value| (name.clone(), value)).map_err(|reason| SecretError {
                name: name.clone(),
                file: path.join(file).display().to_string(),
                reason,
            })
        })
        .collect()
}

fn read(dir: &Path, file: &str) -> Result<Vec<u8>, String> {
    if file.is_empty() || file.contains(['/', '\0']) || file == "." || file == ".." {
        return Err("its file must be named without a slash".to_owned());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let said = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::NOENT => "there is no such file; put the value there".to_owned(),
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => "it leads through a symbolic link".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    let dir = open(dir, flags | OFlags::DIRECTORY, Mode::empty()).map_err(said)?;
    let fd = openat(&dir, file, flags | OFlags::NONBLOCK, Mode::empty()).map_err(said)?;
    if FileType::from_raw_mode(fstat(&fd).map_err(said)?.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file".to_owned());
    }
    let mut value = Vec::new();
    File::from(fd).take(MAX_SECRET_BYTES + 1).read_to_end(&mut value).map_err(|error| error.to_string())?;
    if value.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("it has more than {MAX_SECRET_BYTES} bytes"));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_regular_file_below_its_workspace() {
        let dir = tempfile::tempdir().expect("a directory");
        let acme = dir.path().join("acme");
        std::fs::create_dir(&acme).expect("made");
        std::fs::write(acme.join("token"), "hush\n").expect("written");
        std::fs::write(dir.path().join("outside"), "theirs").expect("written");
        std::os::unix::fs::symlink(dir.path().join("outside"), acme.join("link")).expect("linked");
        std::fs::write(acme.join("big"), vec![b'x'; 70_000]).expect("written");
        let slug: Slug = "acme".parse().expect("a slug");
        let all =
            |file: &str| read_all(dir.path(), &slug, &[("TOKEN".to_owned(), SecretRef::File(file.to_owned()))].into());
        assert_eq!(all("token").expect("read")["TOKEN"], b"hush");
        for (file, reason) in [
            ("link", "symbolic link"),
            ("gone", "no such file"),
            ("../outside", "slash"),
            ("big", "65536"),
            (".", "slash"),
        ] {
            let text = all(file).expect_err(file).to_string();
            assert!(text.contains("TOKEN") && text.contains(reason), "{text}");
        }
    }
}
