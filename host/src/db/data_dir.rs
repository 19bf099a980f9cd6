//! The data directory: made 0700, proven writable, held by one daemon at a time. Everything that knows where a file of the
//! daemon's lies asks here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::ids::{Slug, WorkspaceId};

/// An opened data directory; the lock goes with it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The kernel lets go of its lock when the process ends, however it ends.
    lock: File,
}

/// Why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It can't be made or opened.
    #[error("cannot use the data directory {}: {source}; choose another with `data_dir`, or give this user access to it", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another user's directory.
    #[error("the data directory {} belongs to user id {owner}: run orbitd as that user, or choose another `data_dir`", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Another daemon runs on it.
    #[error("another orbitd ({holder}) runs on the data directory {}: stop it, or choose another `data_dir`", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
        /// `pid 123`, as the other one wrote it.
        holder: String,
    },
}

impl DataDir {
    /// Makes it where there is none, proves that it can be written, and takes its lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let found = Self::find(path)?;
        found.lock()?;
        Ok(found)
    }

    /// The same without the lock: until [`DataDir::lock`] only what daemons can share may be used.
    pub fn find(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let unusable = |source| DataDirError::Unusable { path: path.clone(), source };
        let metadata = fs::metadata(&path).map_err(unusable)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(DataDirError::Foreign { path, owner: metadata.uid() });
        }
        if metadata.mode() & 0o066 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        let workspaces = path.join("workspaces");
        DirBuilder::new().recursive(true).mode(0o700).create(&workspaces).map_err(unusable)?;
        Ok(Self { path, lock })
    }

    /// Takes the lock.
    pub fn lock(&self) -> Result<(), DataDirError> {
        let path = self.path.clone();
        let unusable = |source| DataDirError::Unusable { path: self.path.clone(), source };
        let mut lock = &self.lock;
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = lock.take(64).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "of unknown pid".to_owned(),
                    pid => format!("pid {pid}"),
                };
                return Err(DataDirError::Locked { path, holder });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)
    }

    /// Lets go of the lock: from here on another daemon may be on it, and this one must touch nothing.
    pub fn unlock(&self) -> Result<(), DataDirError> {
        flock(&self.lock, FlockOperation::Unlock)
            .map_err(|errno| DataDirError::Unusable { path: self.path.clone(), source: errno.into() })
    }

    /// Lets users of their own pass through to their homes: they can enter by a name they know, and list nothing. Everything else
    /// here is 0600 or 0700 by itself.
    pub fn let_users_through(&self) -> Result<(), DataDirError> {
        for path in [self.path.clone(), self.path.join("workspaces")] {
            let opened = fs::set_permissions(&path, fs::Permissions::from_mode(0o711));
            opened.map_err(|source| DataDirError::Unusable { path, source })?;
        }
        Ok(())
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The registry's file.
    pub fn registry(&self) -> PathBuf {
        self.path.join("registry.sqlite")
    }

    /// The master key's file.
    pub fn master_key(&self) -> PathBuf {
        self.path.join("master.key")
    }

    /// The admin token's file.
    pub fn admin_token(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// Compiled policies.
    pub fn policy_cache(&self) -> PathBuf {
        self.path.join("policy-cache")
    }

    /// What signs them.
    pub fn policy_cache_key(&self) -> PathBuf {
        self.path.join("policy-cache.key")
    }

    /// What was promoted and rolled back, and the modules to go back to.
    pub fn policy_rollouts(&self) -> PathBuf {
        self.path.join("policy-rollouts")
    }

    /// Policy modules that were pulled from registries.
    pub fn policy_modules(&self) -> PathBuf {
        self.path.join("policy-modules")
    }

    /// The newest signed versions of policies that were ever accepted.
    pub fn policy_versions(&self) -> PathBuf {
        self.path.join("policy-versions.json")
    }

    /// One life of a workspace: its database, run directories and logs. Another life of the slug has another home.
    pub fn workspace_home(&self, slug: &Slug, id: WorkspaceId) -> PathBuf {
        self.path.join("workspaces").join(format!("{slug}-{}", tail(id)))
    }

    /// Databases (of the sqlite provisioner) whose workspaces are gone.
    pub fn kept_databases(&self) -> PathBuf {
        self.path.join("kept")
    }

    /// Backups, where the settings name no other place.
    pub fn backups(&self) -> PathBuf {
        self.path.join("backups")
    }

    /// Parts of backups that are being made or restored.
    pub fn backup_scratch(&self) -> PathBuf {
        self.path.join("backups.partial")
    }

    /// `backstage_<slug with _>_<8 hex of id>`: injective, at most 59 bytes (PostgreSQL allows 63).
    pub fn database_name(slug: &Slug, id: WorkspaceId) -> String {
        format!("backstage_{}_{}", slug.as_str().replace('-', "_"), tail(id))
    }
}

/// The last 8 hex digits: a UUIDv7's first ones are its time, equal for ids made within a minute.
fn tail(id: WorkspaceId) -> String {
    let text = id.0.simple().to_string();
    text[24..].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_workspaces_never_share_a_database_name(
            one in "[a-z][a-z0-9-]{0,39}", two in "[a-z][a-z0-9-]{0,39}", same in any::<bool>(), raw in any::<[u128; 2]>(),
        ) {
            let ids = raw.map(|raw| WorkspaceId(uuid::Uuid::from_u128(raw)));
            let two = if same { one.clone() } else { two };
            let slugs: [Slug; 2] = [one.parse().expect("a slug"), two.parse().expect("a slug")];
            let names = [0, 1].map(|i| DataDir::database_name(&slugs[i], ids[i]));
            prop_assert!(names.iter().all(|name| name.len() <= 59 && name.starts_with("backstage_")));
            prop_assert_eq!(names[0] == names[1], slugs[0] == slugs[1] && tail(ids[0]) == tail(ids[1]));
        }
    }
}
