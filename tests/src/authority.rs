//! A certificate authority of the test's own, by the system's `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who signs certificates.
pub struct Authority {
    dir: PathBuf,
}

/// A server's key and certificate: files, which are replaced when another one is issued under the same name.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM.
    pub key: PathBuf,
    /// PEM.
    pub file: PathBuf,
}

impl Authority {
    /// A new one; its files are below `dir`.
    ///
    /// # Panics
    /// Where there is no `openssl`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).expect("made");
        let authority = Self { dir };
        let made = authority.certificate("ca");
        let subject = format!("/CN={name}");
        authority.openssl(None, &made, &["-subj", &subject, "-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    /// PEM file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.certificate("ca").file
    }

    /// Issues a certificate for a DNS name, valid for three days.
    pub fn issue(&self, host: &str) -> Certificate {
        self.issue_at(host, None)
    }

    /// The same, a week after its end.
    pub fn issue_expired(&self, host: &str) -> Certificate {
        self.issue_at(host, Some("-10 days"))
    }

    fn issue_at(&self, host: &str, at: Option<&str>) -> Certificate {
        let issued = self.certificate(host);
        let (name, ca) = (format!("subjectAltName=DNS:{host}"), self.certificate("ca"));
        let (subject, ca_key) = (format!("/CN={host}"), ca.key.display().to_string());
        let ca = ca.file.display().to_string();
        let of = ["-CA", &ca, "-CAkey", &ca_key, "-subj", &subject, "-addext", &name];
        self.openssl(at, &issued, &[&of[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat());
        issued
    }

    fn certificate(&self, name: &str) -> Certificate {
        Certificate { key: self.dir.join(format!("{name}.key")), file: self.dir.join(format!("{name}.pem")) }
    }

    /// Makes a key and a certificate for it, as if it were `at`.
    fn openssl(&self, at: Option<&str>, made: &Certificate, args: &[&str]) {
        let mut command = Command::new(if at.is_some() { "faketime" } else { "openssl" });
        if let Some(at) = at {
            command.args([at, "openssl"]);
        }
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"])
            .args(args)
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.file);
        let done = command.output().expect("openssl and faketime are installed (`make services`)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
