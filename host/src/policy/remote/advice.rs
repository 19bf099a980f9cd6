//! From what the client's libraries say to what an operator reads: what is wrong with the registry, and what to do next.

use std::{error::Error, io, time::Duration};

use oci_client::errors::{OciDistributionError, OciErrorCode};
use rustls::{CertificateError, Error as TlsError, pki_types::UnixTime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Access, OciReference};

/// Characters that are kept of what a registry says.
const MAX_SAID: usize = 300;

/// In whose words to say what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Settings are changed, and it asks again by itself.
    Daemon,
    /// Flags are changed, and somebody runs it again.
    Command,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Reads on after the registry's name.
    pub reason: String,
    /// An imperative.
    pub next: String,
}

/// One reference and how its registry is asked.
pub(super) struct Asked<'a> {
    pub reference: &'a OciReference,
    pub access: &'a Access,
}

impl Asker {
    fn account(self, registry: &str) -> String {
        match self {
            Self::Daemon => format!("set [oci.accounts.\"{registry}\"]"),
            Self::Command => "pass --username with --password-file or --password-env".to_owned(),
        }
    }
    fn authority(self, registry: &str) -> String {
        match self {
            Self::Daemon => format!("oci.ca_files.\"{registry}\""),
            Self::Command => "--ca-file".to_owned(),
        }
    }
    fn again(self) -> &'static str {
        match self {
            Self::Daemon => "it is asked again",
            Self::Command => "try again then",
        }
    }
}

impl Advice {
    fn new(reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self { reason: reason.into(), next: next.into() }
    }
}

impl Asked<'_> {
    /// What an error means. `token` is the error of its token service, where one was asked after a refusal.
    pub fn advice(&self, error: &OciDistributionError, token: Option<&OciDistributionError>) -> Advice {
        let registry = self.reference.registry();
        match error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::ServerError { code: 401, .. } => {
                self.not_let_in(token)
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let said: Vec<&str> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
                let said = line(&said.join("; "));
                match envelope.errors.first().map(|error| &error.code) {
                    Some(OciErrorCode::Unauthorized) => self.not_let_in(token),
                    Some(OciErrorCode::Denied) => self.denied(),
                    Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                        self.missing()
                    }
                    _ => Advice::new(format!("refuses: {said}"), format!("mend what it names; {}", self.again())),
                }
            }
            OciDistributionError::ServerError { code: 403, .. } => self.denied(),
            OciDistributionError::ServerError { code: 404, .. }
            | OciDistributionError::ImageManifestNotFoundError(_) => self.missing(),
            // What Go's server, and so every usual registry, says.
            OciDistributionError::ServerError { message, .. }
                if self.access.is_plain(self.reference) && message.contains("HTTP request to an HTTPS server") =>
            {
                let authority = self.access.asker.authority(registry);
                Advice::new(
                    "speaks https, and was asked in plain http, as registries on this machine are",
                    format!(
                        "name the file of the authority that signed its certificate ({authority}): https is spoken then"
                    ),
                )
            }
            OciDistributionError::ServerError { code, message, .. } => {
                let said = line(message);
                let said = if said.is_empty() { said } else { format!(": {said}") };
                Advice::new(format!("answers {code}{said}"), format!("look at its log; {}", self.again()))
            }
            OciDistributionError::RequestError(error) => self.no_answer(error, "it"),
            other => {
                let reason = format!("does not answer as a registry should: {}", line(&with_causes(other)));
                Advice::new(reason, format!("is {registry} an OCI registry?"))
            }
        }
    }

    /// No whole answer within `limit`.
    pub fn too_slow(&self, limit: Duration) -> Advice {
        let reason = format!("gave no whole answer within {} s", limit.as_secs());
        Advice::new(reason, format!("look at its load and the network; {}", self.again()))
    }

    fn again(&self) -> &'static str {
        self.access.asker.again()
    }

    fn not_let_in(&self, token: Option<&OciDistributionError>) -> Advice {
        let registry = self.reference.registry();
        if let Some(OciDistributionError::RequestError(error)) = token {
            return self.no_answer(error, "its token service");
        }
        match self.access.accounts.get(registry) {
            None => Advice::new(
                format!("lets nobody in without an account (401), and none is given for {registry}"),
                self.access.asker.account(registry),
            ),
            Some(account) => Advice::new(
                format!("refuses the account {:?} (401)", account.username),
                format!("check name, password and its right to {}", self.reference.repository()),
            ),
        }
    }

    fn denied(&self) -> Advice {
        let repository = self.reference.repository();
        match self.access.accounts.get(self.reference.registry()) {
            Some(account) => Advice::new(
                format!("does not let {:?} do this with {repository} (403)", account.username),
                "give the account that right there, or use another",
            ),
            None => Advice::new(
                format!("does not let everybody do this with {repository} (403)"),
                self.access.asker.account(self.reference.registry()),
            ),
        }
    }

    fn missing(&self) -> Advice {
        Advice::new(
            format!("has no {}", self.reference.place()),
            "push it (`orbitd policy push`), or correct the reference",
        )
    }

    /// `who` did not answer: `it`, or `its token service`.
    fn no_answer(&self, error: &reqwest::Error, who: &str) -> Advice {
        let mut said = None;
        let mut link: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(inner) = link {
            if let Some(tls) = as_tls(inner) {
                return self.bad_tls(tls, who);
            }
            said = Some(inner);
            link = inner.source();
        }
        let subject = if who == "it" { String::new() } else { format!(", that is {who},") };
        let again = self.again();
        if error.is_timeout() && !error.is_connect() {
            let silence = self.access.timeout.as_secs();
            let reason = format!("does not answer{subject}: silent for {silence} s");
            return Advice::new(reason, format!("look at its load and the network; {again}"));
        }
        let cause = if error.is_timeout() {
            "no connection in time".to_owned()
        } else {
            said.map_or_else(String::new, |said| line(&said.to_string()))
        };
        if error.is_connect() {
            let reason = format!("can't be reached{subject}: {cause}");
            return Advice::new(reason, format!("check that it runs, and its name and port; {again}"));
        }
        Advice::new(format!("broke off{subject}: {cause}"), format!("look at its log; {again}"))
    }

    fn bad_tls(&self, error: &TlsError, who: &str) -> Advice {
        let registry = self.reference.registry();
        let authority = self.access.asker.authority(registry);
        let shows = if who == "it" { "shows".to_owned() } else { "has a token service that shows".to_owned() };
        let TlsError::InvalidCertificate(certificate) = error else {
            return Advice::new(
                format!("does not speak https as it should: {}", line(&error.to_string())),
                format!(
                    "check its port; plain http is spoken with registries on this machine only, without {authority}"
                ),
            );
        };
        match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let until = match certificate {
                    CertificateError::ExpiredContext { not_after, .. } => format!(" on {}", date(*not_after)),
                    _ => String::new(),
                };
                Advice::new(
                    format!("{shows} a certificate that expired{until}"),
                    format!("have it renewed there; {}", self.again()),
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Advice::new(
                format!("{shows} a certificate that is not valid yet"),
                format!("compare the clocks there and here; {}", self.again()),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let names = match certificate {
                    CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                        format!(": it is for {}", line(&presented.join(", ")))
                    }
                    _ => String::new(),
                };
                Advice::new(
                    format!("{shows} a certificate of another host{names}"),
                    "use one of its names in the reference, or have this name added there",
                )
            }
            CertificateError::UnknownIssuer => match self.access.ca_files.get(registry) {
                Some(file) => Advice::new(
                    format!("{shows} a certificate that no authority in {} signed", file.display()),
                    format!("put the right authority there ({authority}); nothing else is believed of this registry"),
                ),
                None => Advice::new(
                    format!("{shows} a certificate of an authority that this machine does not know"),
                    format!("name the authority's file ({authority})"),
                ),
            },
            other => Advice::new(
                format!("{shows} a certificate that can't be believed: {}", line(&other.to_string())),
                format!("have another made there, or name its authority ({authority})"),
            ),
        }
    }
}

/// A TLS error, which travels inside of I/O errors; these don't count it among their causes.
fn as_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    if let Some(tls) = error.downcast_ref::<TlsError>() {
        return Some(tls);
    }
    error.downcast_ref::<io::Error>()?.get_ref().and_then(|inner| as_tls(inner))
}

fn date(at: UnixTime) -> String {
    let at = i64::try_from(at.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "a date far away".to_owned())
}

/// With what caused it, each said once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}

/// A stranger's text as a part of a line.
fn line(text: &str) -> String {
    text.trim().chars().take(MAX_SAID).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
