//! Installs the programs that steps use. Everything but apt packages stays in the repository's ignored folders.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Creates the virtual environment `target/<name>` with Python packages, and returns its folder of programs. `packages`
/// are arguments of `pip install`.
pub(crate) fn python(workspace: &Workspace, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = workspace.file("target").join(name);
    let programs = folder.join("bin");
    let (shell, pip) = (&workspace.shell, programs.join("pip"));
    workspace.run(cmd!(shell, "python3 -m venv {folder}"))?;
    workspace.run(cmd!(shell, "{pip} install --quiet --disable-pip-version-check {packages...}"))?;
    Ok(programs)
}

/// Installs a version of a program from crates.io in `target/programs`, and returns its folder.
pub(crate) fn cargo(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf> {
    let root = workspace.file("target/programs");
    let install = cmd!(workspace.shell, "cargo install --quiet --locked --root {root} --version {version} {name}");
    workspace.run(install)?;
    Ok(root.join("bin"))
}

/// Installs the standard library of a target, unless the toolchain has it.
pub(crate) fn target(workspace: &Workspace, triple: &str) -> Result {
    let shell = &workspace.shell;
    let toolchain = workspace.read(cmd!(shell, "rustc --print sysroot"))?;
    if Path::new(&toolchain).join("lib/rustlib").join(triple).exists() {
        return Ok(());
    }
    workspace.run(cmd!(shell, "rustup target add {triple}"))
}

/// Returns `PATH` with folders of programs before all others.
pub(crate) fn path(programs: impl IntoIterator<Item = PathBuf>) -> Result<OsString> {
    let others = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(programs.into_iter().chain(env::split_paths(&others)))?)
}

/// Installs the locked Node packages of a folder.
pub(crate) fn node(workspace: &Workspace, folder: &str) -> Result {
    workspace.run(cmd!(workspace.shell, "npm --prefix {folder} ci --no-audit --no-fund"))
}

/// Returns the path of a program, and installs the apt package of the same name if there is none.
pub(crate) fn apt(workspace: &Workspace, program: &str) -> Result<PathBuf> {
    apt_package(workspace, program, program)
}

/// Returns the path of a program, and installs an apt package if there is none.
pub(crate) fn apt_package(workspace: &Workspace, program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    // Another lane may install a package too, and apt waits for no other process that reads its lists.
    fs::create_dir_all(workspace.file("target"))?;
    let lock = File::create(workspace.file("target/apt.lock"))?;
    lock.lock()?;
    if let Some(path) = find(program) {
        return Ok(path);
    }
    // `sudo` removes variables, so `env` sets this one.
    let (env, sudo) = if geteuid().is_root() { ("env", None) } else { ("sudo", Some("env")) };
    let shell = &workspace.shell;
    workspace.run(cmd!(shell, "{env} {sudo...} apt-get update -qq"))?;
    // The system itself may be installing packages.
    let options = ["-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
    let install = cmd!(shell, "{env} {sudo...} DEBIAN_FRONTEND=noninteractive apt-get install {options...} {package}");
    workspace.run(install.ignore_stdout())?;
    find(program).ok_or_else(|| format!("{program} is not in PATH after its installation").into())
}

/// Searches `PATH` for a program.
fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program"), None);
    }
}
