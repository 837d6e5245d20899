//! Certificates of authorities for systems without, such as small containers.
//!
//! The clients of the program and of its functions read them when they are created, and fail if there are none. The
//! archive of a release therefore has a file of them beside the program.

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Name of the file beside the program.
const FILE: &str = "ca-certificates.crt";

/// Variable that names a file of certificates to the clients. The functions inherit it.
const VARIABLE: &str = "SSL_CERT_FILE";

/// Starts this program again with the certificates beside it, if the system has none. Otherwise returns at once. A program
/// calls it at the beginning of its `main`, after [`emulator::lambda::guardian_main`].
///
/// A program cannot safely change its own variables. The process keeps its id, its arguments and its open files.
pub fn provide() {
    if let Err(error) = start_again() {
        eprintln!("warning: the certificates beside the program are not used: {error}");
    }
}

fn start_again() -> io::Result<()> {
    let program = env::current_exe()?;
    let Some(file) = packed(&program, env::var_os(VARIABLE).is_some(), is_on_system()) else { return Ok(()) };
    let mut arguments = env::args_os();
    let mut command = Command::new(&program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only if it fails.
    Err(command.args(arguments).env(VARIABLE, file).exec())
}

/// Returns the file beside the program, if it is there and needed. A file that the user names is never replaced.
fn packed(program: &Path, is_named: bool, is_on_system: bool) -> Option<PathBuf> {
    let file = program.with_file_name(FILE);
    (!is_named && !is_on_system && file.is_file()).then_some(file)
}

/// Returns whether the system has certificates where the clients look for them.
fn is_on_system() -> bool {
    let found = openssl_probe::probe();
    let has_entry = |folder: &PathBuf| folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    found.cert_file.is_some() || found.cert_dir.iter().any(has_entry)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn certificates_are_taken_only_if_there_are_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("switchboard");
        assert_eq!(packed(&program, false, false), None);
        let file = folder.path().join(FILE);
        fs::write(&file, "").unwrap();
        assert_eq!(packed(&program, false, false), Some(file));
        assert_eq!(packed(&program, true, false), None);
        assert_eq!(packed(&program, false, true), None);
    }
}
