//! Checks of source files and pages that run no test.

use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Checks the formatting of all workspaces.
pub(super) fn fmt(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    workspace.run(cmd!(shell, "cargo fmt --all --check"))?;
    workspace.run(cmd!(shell, "cargo fmt --all --check --manifest-path contracts/Cargo.toml"))?;
    workspace.run(cmd!(shell, "cargo fmt --manifest-path testing/fuzz/Cargo.toml --check"))
}

/// Runs clippy on the product and on the contracts.
pub(super) fn lint(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    for contracts in [&[][..], &["--manifest-path", "contracts/Cargo.toml"]] {
        let clippy = cmd!(shell, "cargo clippy {contracts...} --workspace --all-targets --locked -- -D warnings");
        workspace.run(clippy)?;
    }
    Ok(())
}

/// Checks links, words, and the marks of snippets.
pub(super) fn docs(workspace: &Workspace) -> Result {
    workspace.run(cmd!(workspace.shell, "python3 tools/checks/links.py"))?;
    workspace.run(cmd!(workspace.shell, "python3 tools/checks/words.py"))?;
    workspace.run(cmd!(workspace.shell, "python3 testing/site/run.py --marks"))
}

/// Checks the imports of all crates, and that no other client of the API exists than those of `clients/`.
pub(super) fn imports(workspace: &Workspace) -> Result {
    workspace.run(cmd!(workspace.shell, "python3 tools/checks/imports.py"))?;
    workspace.run(cmd!(workspace.shell, "python3 tools/checks/clients.py"))
}
