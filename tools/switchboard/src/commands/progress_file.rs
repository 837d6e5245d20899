//! File with the progress of a long command, from which an interrupted one goes on.

use std::{
    fs, io,
    io::Write,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of the file.
const VERSION: u32 = 1;

/// Content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Content<State> {
    version: u32,
    /// Name of the target.
    target: String,
    /// The work, and the options on which its state depends.
    work: String,
    state: State,
}

/// The file of one command.
#[derive(Debug)]
pub(super) struct ProgressFile<State> {
    /// `None`: the progress is not kept, since standard input cannot be read again.
    path: Option<PathBuf>,
    target: String,
    work: String,
    /// Advice if the file is of another work.
    advice: &'static str,
    state: PhantomData<State>,
}

impl<State: Serialize + DeserializeOwned> ProgressFile<State> {
    pub(super) fn new(path: Option<PathBuf>, target: &str, work: String, advice: &'static str) -> Self {
        Self { path, target: target.to_owned(), work, advice, state: PhantomData }
    }

    /// Returns the progress of the same work, if it was interrupted.
    pub(super) fn load(&self) -> Result<Option<State>> {
        let Some(path) = &self.path else { return Ok(None) };
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let content: Content<State> = serde_json::from_slice(&content)
            .with_context(|| format!("{} is not the progress of this command", path.display()))?;
        if (content.version, &content.target, &content.work) != (VERSION, &self.target, &self.work) {
            bail!("{} is of {} at {}: {}", path.display(), content.work, content.target, self.advice);
        }
        Ok(Some(content.state))
    }

    /// Keeps the progress. A reader sees the old or the new one, never a part.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let failed = || format!("cannot write {}", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let content = Content { version: VERSION, target: self.target.clone(), work: self.work.clone(), state };
        let mut temporary = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        writeln!(temporary, "{}", serde_json::to_string(&content)?).with_context(failed)?;
        temporary.persist(path).with_context(failed)?;
        Ok(())
    }

    /// Removes the file after the end of the work.
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
    use chat::app::transfer::ImportState;

    use super::*;

    #[test]
    fn progress_is_kept_for_the_same_work_at_the_same_target_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.jsonl.progress");
        let of = |target: &str, work: &str| {
            ProgressFile::new(Some(path.clone()), target, work.to_owned(), "name another file")
        };
        let first = || of("one", "an import");
        assert_eq!(first().load().unwrap(), None);
        let state = ImportState { records: 7, ..ImportState::default() };
        first().save(&state).unwrap();
        assert_eq!(first().load().unwrap(), Some(state));
        for other in [of("other", "an import"), of("one", "another import")] {
            let error = other.load().unwrap_err().to_string();
            assert!(error.ends_with("is of an import at one: name another file"), "{error}");
        }
        first().remove().unwrap();
        first().remove().unwrap();
        assert_eq!(first().load().unwrap(), None);
        fs::write(&path, "x").unwrap();
        assert!(first().load().is_err());
    }
}
