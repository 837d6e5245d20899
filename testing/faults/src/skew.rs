//! Wrong clocks of functions: libfaketime between a function and its C library, if it is installed.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Paths of the library in common distributions.
const PLACES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// The clocks of all functions.
#[derive(Debug)]
pub(crate) struct Skew {
    library: Option<&'static str>,
    file: PathBuf,
}

impl Skew {
    /// Stores the offset in a file of `work`.
    pub(crate) fn new(work: &Path) -> io::Result<Self> {
        let library = PLACES.into_iter().find(|place| Path::new(place).exists());
        let skew = Self { library, file: work.join("clock") };
        skew.set(0)?;
        Ok(skew)
    }

    /// Returns correct clocks, even if libfaketime is installed.
    pub(crate) fn none(work: &Path) -> Self {
        Self { library: None, file: work.join("clock") }
    }

    pub(crate) fn is_possible(&self) -> bool {
        self.library.is_some()
    }

    /// Moves the clocks of functions by `seconds`, including running ones.
    pub(crate) fn set(&self, seconds: i64) -> io::Result<()> {
        // The rename is atomic: a reader never sees a partial file.
        let draft = self.file.with_extension("tmp");
        fs::write(&draft, format!("{seconds:+}\n"))?;
        fs::rename(&draft, &self.file)
    }

    /// Returns a folder in which each program of `binaries` runs with these clocks.
    pub(crate) fn wrap(&self, binaries: &Path, folder: &Path) -> io::Result<PathBuf> {
        let Some(library) = self.library else { return Ok(binaries.to_owned()) };
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(binaries)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 || path.extension().is_some() {
                continue;
            }
            let script = folder.join(entry.file_name());
            // Monotonic time stays unchanged, since timeouts depend on it.
            let text = format!(
                "#!/bin/sh\nLD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_CACHE_DURATION=1 \
                 FAKETIME_DONT_FAKE_MONOTONIC=1 exec '{}'\n",
                self.file.display(),
                path.display()
            );
            let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o755).open(script)?;
            file.write_all(text.as_bytes())?;
        }
        Ok(folder.to_owned())
    }
}
