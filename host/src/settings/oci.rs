//! `[oci]` of `orbitd.toml`.

use std::{borrow::Borrow, collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// OCI registries that policies come from (`module = "oci://…"`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OciSettings {
    /// Seconds between two questions for the same tag; at least 1.
    pub poll_s: u64,
    /// Seconds that a registry may be silent before it counts as not answering; at least 1.
    pub timeout_s: u64,
    /// Who orbitd is to a registry; others are asked anonymously.
    pub accounts: BTreeMap<RegistryName, OciAccount>,
    /// PEM files of the authorities that sign a registry's certificate. Only these are believed there, then, not the machine's own;
    /// and https is spoken even with this machine.
    pub ca_files: BTreeMap<RegistryName, PathBuf>,
}

/// A registry as references name it: `registry.example.org:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryName(String);

/// An account of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawAccount")]
pub struct OciAccount {
    /// The user's name.
    pub username: String,
    /// Where the password or token is.
    #[serde(flatten)]
    pub password: PasswordPlace,
}

/// Where a password is; never the password itself. It is read at each use, so that it can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PasswordPlace {
    /// A file that holds nothing else; white space at its end does not count.
    #[serde(rename = "password_file")]
    File(PathBuf),
    /// A variable of orbitd's environment; as a process can't see a new value of it, a change needs a restart.
    #[serde(rename = "password_env")]
    Variable(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccount {
    username: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

impl Default for OciSettings {
    fn default() -> Self {
        Self { poll_s: 60, timeout_s: 15, accounts: BTreeMap::new(), ca_files: BTreeMap::new() }
    }
}

impl TryFrom<RawAccount> for OciAccount {
    type Error = String;
    fn try_from(raw: RawAccount) -> Result<Self, String> {
        let password = match (raw.password_file, raw.password_env) {
            (Some(file), None) => PasswordPlace::File(file),
            (None, Some(name)) if !name.is_empty() && !name.contains(['=', '\0']) => PasswordPlace::Variable(name),
            (None, Some(name)) => return Err(format!("password_env = {name:?} is no name of a variable")),
            (None, None) | (Some(_), Some(_)) => {
                return Err("an account has either password_file or password_env".to_owned());
            }
        };
        Ok(Self { username: raw.username, password })
    }
}

// === impl RegistryName ===

impl TryFrom<String> for RegistryName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            let name: String = name.chars().take(80).collect();
            return Err(format!("{name:?} is no registry: write host or host:port, as after oci://"));
        }
        Ok(Self(name))
    }
}

impl From<RegistryName> for String {
    fn from(name: RegistryName) -> Self {
        name.0
    }
}

impl Borrow<str> for RegistryName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_names_one_place_of_its_password() {
        let read = |text: &str| toml::from_str::<OciSettings>(text).map_err(|error| error.to_string());
        let both = "[accounts.\"r.example.org:5000\"]\nusername = \"o\"\n";
        let file =
            read(&format!("{both}password_file = \"f\"\n[ca_files]\n\"r.example.org\" = \"ca.pem\"")).expect("good");
        assert_eq!(file.accounts["r.example.org:5000"].password, PasswordPlace::File("f".into()));
        let text = toml::to_string(&file).expect("written");
        assert_eq!(read(&text).expect("its own text").accounts, file.accounts, "{text}");
        assert!(read(&format!("{both}password_env = \"REGISTRY_PASSWORD\"")).is_ok());
        assert!(read(both).expect_err("none").contains("either password_file or password_env"));
        assert!(read(&format!("{both}password_file = \"f\"\npassword_env = \"E\"")).is_err());
        assert!(read(&format!("{both}password = \"p\"")).expect_err("in clear").contains("unknown field"));
        for wrong in ["https://r.example.org", "r.example.org/team", "me@r.example.org"] {
            let error = read(&format!("[ca_files]\n{wrong:?} = \"f\"")).expect_err("no registry");
            assert!(error.contains(wrong) && error.contains("host:port"), "{error}");
        }
    }
}
