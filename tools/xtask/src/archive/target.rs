//! The target of an archive.

use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Suffix of the targets whose binaries are static.
const MUSL: &str = "-unknown-linux-musl";

/// A target of Rust that archives are built for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target(String);

impl Target {
    /// Returns the given target, or the one of this machine.
    pub(super) fn choose(workspace: &Workspace, given: Option<&str>) -> Result<Self> {
        match given {
            Some(triple) if triple.ends_with(MUSL) || triple.ends_with("-apple-darwin") => Ok(Self(triple.to_owned())),
            Some(triple) => Err(format!("{triple} is none of <processor>{MUSL} and <processor>-apple-darwin").into()),
            None => Ok(Self::of_host(&host(workspace)?)),
        }
    }

    fn of_host(host: &str) -> Self {
        match host.split_once("-unknown-linux-") {
            Some((processor, _)) => Self(format!("{processor}{MUSL}")),
            None => Self(host.to_owned()),
        }
    }

    /// Returns the name that Rust has for the target.
    pub(super) fn triple(&self) -> &str {
        &self.0
    }

    /// Returns whether the binaries need no file of the system.
    pub(super) fn is_static(&self) -> bool {
        self.0.ends_with(MUSL)
    }

    /// Returns whether this machine runs the binaries.
    pub(super) fn runs_here(&self, workspace: &Workspace) -> Result<bool> {
        Ok(*self == Self::of_host(&host(workspace)?))
    }
}

/// Returns the target of this machine's compiler.
fn host(workspace: &Workspace) -> Result<String> {
    let version = workspace.read(cmd!(workspace.shell, "rustc --version --verbose"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_gets_static_binaries_of_its_processor() {
        for (host, triple, is_static) in [
            ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", true),
            ("aarch64-unknown-linux-musl", "aarch64-unknown-linux-musl", true),
            ("aarch64-apple-darwin", "aarch64-apple-darwin", false),
        ] {
            let target = Target::of_host(host);
            assert_eq!((target.triple(), target.is_static()), (triple, is_static));
        }
    }
}
