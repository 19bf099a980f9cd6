//! What a policy says of itself, checked.

use super::sentence;
use crate::LoadError;

/// What a policy says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// `[a-z][a-z0-9-]{0,39}`.
    pub name: String,
    /// The policy's own version.
    pub version: String,
    /// JSON schema of its settings; empty where there are none.
    pub settings_schema: String,
}

// === impl About ===

impl About {
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let label = |text: &str| {
            text.len() <= 40
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !label(&self.name) {
            return Err(LoadError::Description(format!(
                "its name is {:?}: it must start with a-z and hold at most 40 of a-z, 0-9 and '-'",
                sentence(&self.name)
            )));
        }
        let version = self.version.as_bytes();
        if version.is_empty() || version.len() > 64 || !version.iter().all(u8::is_ascii_graphic) {
            return Err(LoadError::Description(format!("its version is {:?}", sentence(&self.version))));
        }
        Ok(())
    }
}
