//! The files of an archive.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::cmd;

use super::PROGRAM;
use super::target::Target;
use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Files of the repository, and their names in the archive.
const FILES: [(&str, &str); 3] =
    [("tools/xtask/src/archive/README.md", "README.md"), ("LICENSE", "LICENSE"), ("CHANGELOG.md", "CHANGELOG.md")];

/// A file of an archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path within the folder of the archive.
    pub(super) name: String,
    pub(super) source: Source,
}

/// Content of a file.
#[derive(Debug)]
pub(super) enum Source {
    /// A binary.
    Program(PathBuf),
    /// A file of the repository.
    File(PathBuf),
    /// A generated text.
    Text(String),
}

/// Returns the packages whose binaries are in the archive: the program, and each function.
pub(super) fn packages(workspace: &Workspace) -> Result<Vec<String>> {
    let mut functions = Vec::new();
    for entry in fs::read_dir(workspace.file("services"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            functions.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    functions.sort();
    Ok([PROGRAM.to_owned()].into_iter().chain(functions).collect())
}

/// Installs cargo-zigbuild, Zig and the certificates of authorities, and returns the folder of the programs.
pub(super) fn tools(workspace: &Workspace) -> Result<PathBuf> {
    install::python(workspace, "archive-tools", &["-r", "tools/xtask/requirements.txt"])
}

/// Returns the files of the archive. `built` has the binaries.
pub(super) fn entries(
    workspace: &Workspace,
    target: &Target,
    built: &Path,
    packages: &[String],
    licenses: String,
) -> Result<Vec<Entry>> {
    let programs = packages.iter().map(|name| Entry { name: place(name), source: Source::Program(built.join(name)) });
    let files = FILES.iter().map(|(path, name)| (*name, workspace.file(path)));
    let files = files.map(|(name, path)| Entry { name: name.to_owned(), source: Source::File(path) });
    let licenses = Entry { name: "THIRD-PARTY-LICENSES.txt".to_owned(), source: Source::Text(licenses) };
    let mut entries: Vec<Entry> = programs.chain(files).chain([licenses]).collect();
    // A Mac always has its own.
    if target.is_static() {
        entries.push(Entry { name: "ca-certificates.crt".to_owned(), source: Source::File(certificates(workspace)?) });
    }
    Ok(entries)
}

/// Returns the path of a package's binary. The program finds the functions in this folder beside it.
fn place(package: &str) -> String {
    if package == PROGRAM { package.to_owned() } else { format!("functions/{package}") }
}

/// Returns the certificates of authorities that Mozilla trusts. A small container has none.
fn certificates(workspace: &Workspace) -> Result<PathBuf> {
    let python = tools(workspace)?.join("python");
    Ok(workspace.read(cmd!(workspace.shell, "{python} -m certifi"))?.into())
}
