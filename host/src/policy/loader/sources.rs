//! Where the bytes of a version come from: the policies folder, or what was pulled from a registry.

use std::{fs, io, io::Read, path::Path};

use super::{Loader, files};
use crate::policy::{binding::Binding, trust::SIGNATURE_SUFFIX};

/// Bytes of a file that `settings_files` names.
const MAX_TEXT_BYTES: u64 = 512 << 10;
/// Bytes of a signature file; one that is longer is refused when it is parsed.
const MAX_SIGNATURE_BYTES: u64 = 32 << 10;

/// A module as it was found.
pub(super) struct Source {
    /// The module.
    pub bytes: Vec<u8>,
    /// Text of its signed statement.
    pub signature: Option<String>,
}

impl Loader {
    /// Reads the module that a binding names; where it is in a registry, what was pulled last.
    pub(super) fn read_source(&mut self, binding: &Binding) -> Result<Source, String> {
        let module = binding.module.display();
        if let Some(reference) = binding.reference()? {
            let kept = self.remote.kept();
            // Changes when something else is pulled.
            self.modules.push(kept.entry_path(&reference));
            self.wanted.push(reference.clone());
            let pulled = kept.entry(&reference).and_then(|entry| Some((kept.module(&entry.module)?, entry.signature)));
            let (bytes, annotated) = pulled.ok_or_else(|| match self.remote.error(&reference) {
                Some(error) => format!("module {module} can't be pulled: {error}; it is tried again"),
                None => format!("module {module} has not been pulled yet"),
            })?;
            let signature = match self.read_own_signature(binding)? {
                Some(own) => Some(own),
                None => annotated,
            };
            return Ok(Source { bytes, signature });
        }
        let path =
            binding.module_path(&self.folder).inspect_err(|_| self.modules.push(self.folder.join(&binding.module)))?;
        self.modules.push(path.clone());
        let bytes = files::read_module(&path).map_err(|reason| format!("module {module} {reason}"))?;
        if binding.signature.is_some() {
            return Ok(Source { bytes, signature: self.read_own_signature(binding)? });
        }
        let mut signature = path.into_os_string();
        signature.push(SIGNATURE_SUFFIX);
        self.modules.push(signature.clone().into());
        let signature = read_text(Path::new(&signature), MAX_SIGNATURE_BYTES)
            .map_err(|error| format!("the signature of module {module} can't be read: {error}"))?;
        Ok(Source { bytes, signature })
    }

    /// The signature that a binding names for itself.
    fn read_own_signature(&mut self, binding: &Binding) -> Result<Option<String>, String> {
        let Some(named) = &binding.signature else { return Ok(None) };
        // Also where it is missing: it is looked for again.
        self.modules.push(self.folder.join(named));
        let Some(path) = binding.signature_path(&self.folder)? else { return Ok(None) };
        read_text(&path, MAX_SIGNATURE_BYTES)
            .map_err(|error| format!("signature {} can't be read: {error}", named.display()))
    }

    /// The texts that `settings_files` name, by setting.
    pub(super) fn read_settings_files<'b>(&mut self, binding: &'b Binding) -> Result<Vec<(&'b str, String)>, String> {
        // Also those that are missing: they are looked for again.
        self.modules.extend(binding.settings_files.values().map(|file| self.folder.join(file)));
        let read = |(key, path): (&'b str, std::path::PathBuf)| {
            let no = |reason: String| format!("settings_files.{key}: {} {reason}", path.display());
            let text = read_text(&path, MAX_TEXT_BYTES + 1).map_err(|error| no(format!("can't be read: {error}")))?;
            let text = text.ok_or_else(|| no("does not exist".to_owned()))?;
            if text.len() as u64 > MAX_TEXT_BYTES {
                return Err(no(format!("is longer than {MAX_TEXT_BYTES} bytes, which are allowed")));
            }
            Ok((key, text))
        };
        binding.settings_paths(&self.folder)?.into_iter().map(read).collect()
    }
}

/// A text file's first bytes; none where there is no file.
fn read_text(path: &Path, limit: u64) -> io::Result<Option<String>> {
    let mut text = String::new();
    match fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
