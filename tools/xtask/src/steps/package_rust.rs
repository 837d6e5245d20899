//! Check of the Rust client as a package.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::cmd;

use crate::Result;
use crate::local_run::LocalRun;
use crate::workspace::Workspace;

/// Name of the package.
const CLIENT: &str = "switchboard-client";

/// Files that a package needs, beside its sources.
const FILES: [&str; 4] = ["Cargo.toml", "README.md", "CHANGELOG.md", "src/lib.rs"];

/// Manifest of the empty project.
const PROJECT: &str = "[package]\nname = \"start\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n";

/// Packages the client, builds the program of its README with it in an empty project, and runs the program with a local
/// run.
pub(super) fn check(workspace: &Workspace) -> Result {
    let folder = tempfile::tempdir()?;
    let package = unpack(workspace, folder.path())?;
    if let Some(missing) = FILES.iter().find(|file| !package.join(file).exists()) {
        return Err(format!("the package has no {missing}").into());
    }
    let readme = fs::read_to_string(package.join("README.md"))?;
    let local = LocalRun::start(workspace, &[])?;
    let program = block(&readme, "rust,no_run")?
        .replace("http://127.0.0.1:3000", local.address("rest")?)
        .replace("ws://127.0.0.1:3001", local.address("websocket")?);
    let dependencies = block(&readme, "toml")?.replace("../switchboard/clients/rust", &package.to_string_lossy());
    let root = fs::read_to_string(workspace.file("Cargo.toml"))?;
    // With the same profiles, the dependencies are compiled already.
    let profiles = root.find("[profile.dev]").and_then(|at| root.get(at..)).unwrap_or_default();
    let project = folder.path().join("start");
    let manifest = project.join("Cargo.toml");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/main.rs"), program)?;
    fs::write(&manifest, format!("{PROJECT}{dependencies}\n{profiles}"))?;
    fs::copy(workspace.file("Cargo.lock"), project.join("Cargo.lock"))?;
    let target = workspace.target();
    let run = cmd!(workspace.shell, "cargo run --offline --manifest-path {manifest} --target-dir {target}");
    // A program of a user, which is not linted.
    let run = run.env_remove("RUSTC_WORKSPACE_WRAPPER").env("TOKEN", local.tokens(&["alice".to_owned()])?);
    let output = workspace.read(run)?;
    println!("{output}");
    if output.contains("The message is stored.") && output.contains("Hello from Rust") {
        return Ok(());
    }
    Err("the program of the README did not send its message".into())
}

/// Packages the client, and returns the folder of the unpacked package.
fn unpack(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let shell = &workspace.shell;
    let packages = workspace.target().join("package");
    for earlier in archives(&packages)? {
        fs::remove_file(earlier)?;
    }
    workspace.run(cmd!(shell, "cargo package --package {CLIENT} --no-verify --allow-dirty --offline"))?;
    let archives = archives(&packages)?;
    let archive = archives.first().ok_or("cargo package made no package")?;
    workspace.run(cmd!(shell, "tar -xzf {archive} -C {folder}"))?;
    Ok(folder.join(archive.file_stem().unwrap_or_default()))
}

/// Returns the archives of the client in a folder, which need not exist.
fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(CLIENT) && path.extension().is_some_and(|extension| extension == "crate") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns the first block of a page in a language.
fn block<'a>(page: &'a str, language: &str) -> Result<&'a str> {
    let start = format!("```{language}\n");
    let (_, rest) = page.split_once(&start).ok_or_else(|| format!("README.md has no block of {language}"))?;
    let (text, _) = rest.split_once("```").ok_or("a block of README.md has no end")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_by_its_language() -> Result {
        let page = "# A\n\n```sh\none\n```\n\n```toml\ntwo\n```\n\n```toml\nthree\n```\n";
        assert_eq!(block(page, "toml")?, "two\n");
        assert!(block(page, "rust").is_err());
        Ok(())
    }
}
