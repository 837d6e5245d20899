//! The secret with which a local run signs tokens and its functions verify them.
//!
//! Each data directory has its own secret, in a file that only its user can read. A page of another site, or another
//! user of the machine, cannot sign a token. A run in memory uses a secret that lasts until the machine restarts. A
//! deployment gets its secret from the template's parameters and never uses this one.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// `iss` of every token, and the local run's `JwtIssuer` parameter.
pub const ISSUER: &str = "https://switchboard.localhost";

/// A public HS256 secret for tests and measurements, which set it as the parameter `JwtHs256Secret` of their stack. A
/// local run without that parameter rejects its tokens.
pub const DEVELOPMENT_SECRET: &str = "switchboard-local-development-only-never-deploy-this-secret";

/// Name of the file in a data directory.
pub const FILE: &str = "secret";

/// Temporary name of the file while it is written.
const UNFINISHED_FILE: &str = "secret.new";

/// Length of a secret in bytes: HS256 requires at least the 256 bits of its hash (RFC 7518, section 3.2).
const BYTES: usize = 32;

/// File mode: only its user can read and write.
const PRIVATE: u32 = 0o600;

/// A secret for signing tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reason why no secret is available.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("cannot use the secret {path}: {source}; check its permissions, or choose another --data-dir")]
    File {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file does not contain a secret.
    #[error(
        "{path} does not hold a secret: it must be {BYTES} bytes in base64url; delete it to get a new one, which ends the \
         tokens that were signed with the old one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// Returns a secret from another source, such as a parameter of the template.
    #[must_use]
    pub fn given(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the public secret for tests and measurements that start a stack with it.
    #[must_use]
    pub fn development() -> Self {
        Self::given(DEVELOPMENT_SECRET)
    }

    /// Generates a random secret.
    #[must_use]
    pub fn random() -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>()))
    }

    /// Returns the secret of a data directory, and creates it if it is missing. The caller must have exclusive access
    /// to the directory.
    pub fn of_directory(directory: &Path) -> Result<Self, SecretError> {
        match Self::read(directory)? {
            Some(secret) => Ok(secret),
            None => Self::create(directory),
        }
    }

    /// Returns the secret of a data directory, if it has one.
    pub fn read(directory: &Path) -> Result<Option<Self>, SecretError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(SecretError::Damaged { path }),
            Err(source) => return Err(SecretError::File { path, source }),
        };
        let text = text.trim_end();
        if !BASE64_URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == BYTES) {
            return Err(SecretError::Damaged { path });
        }
        let secret = Self(text.to_owned());
        // A copied directory may have other permissions.
        keep_private(&path).map_err(|source| SecretError::File { path, source })?;
        Ok(Some(secret))
    }

    /// Creates the file atomically, so that an interrupted process leaves no partial secret.
    fn create(directory: &Path) -> Result<Self, SecretError> {
        let (unfinished, path) = (directory.join(UNFINISHED_FILE), directory.join(FILE));
        let secret = Self::random();
        let write = || -> io::Result<()> {
            // A killed run may have left this file.
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&unfinished)?;
            writeln!(file, "{}", secret.0)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| SecretError::File { path, source })?;
        Ok(secret)
    }

    /// Returns the secret that parameters of the template give to this run's own issuer: `JwtHs256Secret`, or the entry
    /// of the issuer [`ISSUER`] in `JwtIssuers`.
    #[must_use]
    pub fn of_parameters(parameters: &BTreeMap<String, String>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Issuer {
            issuer: String,
            secret: Option<String>,
        }
        let given = |name: &str| parameters.get(name).filter(|value| !value.is_empty());
        let of_issuers = || {
            let issuers: Vec<Issuer> = serde_json::from_str(given("JwtIssuers")?).ok()?;
            issuers.into_iter().find(|issuer| issuer.issuer == ISSUER)?.secret
        };
        given("JwtHs256Secret").cloned().or_else(of_issuers).map(Self)
    }

    /// Returns the secret as text. The bytes of this text are the signing key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Restricts a file to reads and writes of its user.
fn keep_private(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == PRIVATE {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(PRIVATE))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn each_directory_has_one_of_its_own_which_stays() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(Secret::read(one.path()).unwrap(), None);
        let secret = Secret::of_directory(one.path()).unwrap();
        assert_eq!(Secret::of_directory(one.path()).unwrap(), secret);
        assert_eq!(Secret::read(one.path()).unwrap(), Some(secret.clone()));
        assert_ne!(Secret::of_directory(other.path()).unwrap(), secret);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(secret.as_str()).unwrap().len(), 32);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn only_its_user_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        Secret::of_directory(directory.path()).unwrap();
        let file = directory.path().join(FILE);
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        Secret::of_directory(directory.path()).unwrap();
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn what_a_killed_run_has_left_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let unfinished = directory.path().join(UNFINISHED_FILE);
        fs::write(&unfinished, "half").unwrap();
        let secret = Secret::of_directory(directory.path()).unwrap();
        assert_ne!(secret.as_str(), "half");
        assert_eq!(mode(&directory.path().join(FILE)), 0o600);
        fs::remove_file(directory.path().join(FILE)).unwrap();
        // A symbolic link is not followed.
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        symlink(elsewhere.path(), &unfinished).unwrap();
        Secret::of_directory(directory.path()).unwrap();
        assert_eq!(fs::read(elsewhere.path()).unwrap(), b"");
    }

    #[test]
    fn a_file_that_holds_something_else_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        for content in [&b""[..], b"short", &[b'a'; 44], &[0xff; 43]] {
            fs::write(&file, content).unwrap();
            let error = Secret::of_directory(directory.path()).unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()) && error.contains("delete it"), "{error}");
            assert_eq!(fs::read(&file).unwrap(), content);
        }
    }

    #[test]
    fn parameters_of_the_template_come_first() {
        let of = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Secret::of_parameters(&pairs.iter().map(owned).collect())
        };
        let issuers = format!(
            r#"[{{"issuer":"https://acme.example","secret":"theirs"}},{{"issuer":"{ISSUER}","secret":"own"}}]"#
        );
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("JwtHs256Secret", "")]), None);
        assert_eq!(of(&[("JwtHs256Secret", "given")]), Some(Secret::given("given")));
        assert_eq!(of(&[("JwtHs256Secret", ""), ("JwtIssuers", &issuers)]), Some(Secret::given("own")));
        assert_eq!(of(&[("JwtIssuers", r#"[{"issuer":"https://acme.example","secret":"theirs"}]"#)]), None);
        assert_eq!(of(&[("JwtIssuers", "not JSON")]), None);
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::given("abc")), "Secret(…)");
    }
}
