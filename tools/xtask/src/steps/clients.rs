//! Checks of the client packages.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Seeds of each client. The bugs that are planted in its copies are found within them.
const SEEDS: &str = "1000";

/// Checks types and tests of the JavaScript client, and runs both clients under the conformance kit. `test` has the
/// tests of the Rust client.
pub(super) fn packages(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    install::node(workspace, "clients/js")?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run check"))?;
    let mut log = workspace.log("clients")?;
    workspace.tee(cmd!(shell, "npm --prefix clients/js test"), &mut log)?;
    planted(workspace)
}

/// Runs both clients under the conformance kit, and searches for the bugs that are planted in copies of them.
fn planted(workspace: &Workspace) -> Result {
    let kit = workspace.build_binaries()?.join("conformance");
    for client in ["js", "rust"] {
        workspace.run(cmd!(workspace.shell, "{kit} planted {client} --seeds {SEEDS}"))?;
    }
    Ok(())
}
