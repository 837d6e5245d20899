//! Checks of the client packages.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Checks types, tests and sizes of the JavaScript client, and runs it under the conformance kit. `test` has the tests of
/// the Rust client.
pub(super) fn packages(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    install::node(workspace, "clients/js")?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run check"))?;
    let mut log = workspace.log("clients")?;
    workspace.tee(cmd!(shell, "npm --prefix clients/js test"), &mut log)?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run size"))?;
    workspace.run(cmd!(shell, "cargo conformance -- node clients/js/conformance.mjs"))
}
