//! File with the progress of an import, from which an interrupted import goes on.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use chat::app::transfer::ImportState;
use serde::{Deserialize, Serialize};

/// Version of the file.
const VERSION: u32 = 1;

/// Content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// Name of the target.
    target: String,
    /// Format of the source, and the options on which its records depend.
    source: String,
    state: ImportState,
}

/// The file of one import.
#[derive(Debug)]
pub(super) struct ProgressFile {
    /// `None`: the progress is not kept, since standard input cannot be read again.
    path: Option<PathBuf>,
    target: String,
    source: String,
}

impl ProgressFile {
    pub(super) fn new(path: Option<PathBuf>, target: &str, source: String) -> Self {
        Self { path, target: target.to_owned(), source }
    }

    /// Returns the progress of an interrupted import, if there is one.
    pub(super) fn load(&self) -> Result<Option<ImportState>> {
        let Some(path) = &self.path else { return Ok(None) };
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let content: Content = serde_json::from_slice(&content)
            .with_context(|| format!("{} is not the progress of an import", path.display()))?;
        if (content.version, &content.target, &content.source) != (VERSION, &self.target, &self.source) {
            bail!(
                "{} is of an import into {} from {}: run that import to its end, or end it with --discard",
                path.display(),
                content.target,
                content.source
            );
        }
        Ok(Some(content.state))
    }

    /// Keeps the progress. A reader sees the old or the new one, never a part.
    pub(super) fn save(&self, state: &ImportState) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let failed = || format!("cannot write {}", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let content = Content {
            version: VERSION,
            target: self.target.clone(),
            source: self.source.clone(),
            state: state.clone(),
        };
        let mut temporary = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        writeln!(temporary, "{}", serde_json::to_string(&content)?).with_context(failed)?;
        temporary.persist(path).with_context(failed)?;
        Ok(())
    }

    /// Removes the file after the end of the import.
    pub(super) fn remove(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_kept_for_the_same_import_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.jsonl.progress");
        let of = |target: &str| ProgressFile::new(Some(path.clone()), target, "switchboard".to_owned());
        assert_eq!(of("one").load().unwrap(), None);
        let state = ImportState { records: 7, ..ImportState::default() };
        of("one").save(&state).unwrap();
        assert_eq!(of("one").load().unwrap(), Some(state));
        let error = of("other").load().unwrap_err().to_string();
        assert!(error.contains("into one") && error.contains("--discard"), "{error}");
        of("one").remove().unwrap();
        of("one").remove().unwrap();
        assert_eq!(of("other").load().unwrap(), None);
    }
}
