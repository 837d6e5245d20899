//! Checks of both clients with the conformance kit.

use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Seeds of each client. The bugs that are planted in its copies are found within them.
const SEEDS: &str = "650";

/// Runs both clients under the kit, and searches for the bugs that are planted in copies of them.
pub(super) fn conformance(workspace: &Workspace) -> Result {
    let kit = workspace.build_binaries()?.join("conformance");
    for client in ["js", "rust"] {
        workspace.run(cmd!(workspace.shell, "{kit} planted {client} --seeds {SEEDS}"))?;
    }
    Ok(())
}
