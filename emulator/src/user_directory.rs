//! Directory of one user for data without value after a restart.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A RAM disk, where the system has one.
const SHARED_MEMORY: &str = "/dev/shm";

/// Returns a directory for data of one user that has no value after a restart: on a RAM disk if there is one, otherwise
/// among temporary files. No other user can enter it.
///
/// If there is a RAM disk, no environment variable is read, so that each command of the user finds the same directory.
pub fn create() -> io::Result<PathBuf> {
    let directory = path();
    private_directory(&directory, rustix::process::getuid().as_raw())?;
    Ok(directory)
}

/// Returns the path of [`create`].
#[must_use]
pub fn path() -> PathBuf {
    let shared = Path::new(SHARED_MEMORY);
    let base = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    base.join(format!("switchboard-local-{}", rustix::process::getuid().as_raw()))
}

/// Creates a directory that only its user can enter. Another user can create the name earlier, so the owner is checked.
fn private_directory(directory: &Path, user: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Checks the name itself and not the target of a link.
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != user {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user; have it removed"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("switchboard-local-0");
        let user = rustix::process::getuid().as_raw();
        private_directory(&directory, user).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        private_directory(&directory, user).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(private_directory(&directory, user + 1).is_err());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(private_directory(&link, user).is_err());
    }
}
