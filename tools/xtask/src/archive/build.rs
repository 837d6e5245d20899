//! Builds the binaries of an archive.

use std::path::PathBuf;

use xshell::cmd;

use super::content;
use super::target::Target;
use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Options of the compiler for static binaries. They replace those of `.cargo/config.toml`, which require the processor
/// of the deployed functions.
const STATIC: &str = "-C target-feature=+crt-static";

/// Builds the packages, and returns the folder of their binaries.
///
/// One build selects all packages, so that each dependency is compiled once. Zig compiles and links C for any Linux, so
/// that no cross compiler is needed.
pub(super) fn build(workspace: &Workspace, target: &Target, profile: &str, packages: &[String]) -> Result<PathBuf> {
    let (shell, triple) = (&workspace.shell, target.triple());
    install::target(workspace, triple)?;
    let selected = packages.iter().flat_map(|name| ["--package", name]);
    let options = ["--profile", profile, "--locked", "--target", triple].into_iter().chain(selected);
    if target.is_static() {
        let path = install::path([content::tools(workspace)?])?;
        let build = cmd!(shell, "cargo zigbuild {options...}");
        workspace.run(build.env("PATH", path).env("RUSTFLAGS", STATIC))?;
    } else {
        workspace.run(cmd!(shell, "cargo build {options...}"))?;
    }
    Ok(workspace.target().join(triple).join(profile))
}
