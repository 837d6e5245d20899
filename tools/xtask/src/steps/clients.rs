//! Checks of the client packages.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Seeds of each client. The kit finds the bugs that are planted in copies of the JavaScript client within them.
const SEEDS: &str = "1000";

/// Checks types and tests of the JavaScript client, and runs both clients under the conformance kit. `test` has the
/// tests of the Rust client.
pub(super) fn packages(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    install::node(workspace, "clients/js")?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run check"))?;
    let mut log = workspace.log("clients")?;
    workspace.tee(cmd!(shell, "npm --prefix clients/js test"), &mut log)?;
    conform(workspace)
}

/// Runs both clients under the conformance kit. Searches for the bugs that are planted in copies of the JavaScript
/// client; those of the Rust client have a workflow of their own, because each is a build.
fn conform(workspace: &Workspace) -> Result {
    let (shell, binaries) = (&workspace.shell, workspace.build_binaries()?);
    let kit = binaries.join("conformance");
    workspace.run(cmd!(shell, "{kit} planted js --seeds {SEEDS}"))?;
    // With the features of the whole workspace, the dependencies are compiled already.
    workspace.run(cmd!(shell, "cargo build --workspace --example conformance --locked"))?;
    let client = binaries.join("examples/conformance");
    workspace.run(cmd!(shell, "{kit} --seeds {SEEDS} -- {client}"))
}
