//! The examples, as a newcomer runs them.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Examples in JavaScript. Those in Rust are members of the workspace.
const SCRIPTS: [&str; 3] = ["examples/agent", "examples/react-chat", "examples/support-widget"];

/// Builds the examples, and tests each with a local run of its own. Pages are opened in Chromium.
pub(super) fn test(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    let chromium = install::apt(workspace, "chromium")?;
    // It has the library that controls the browser.
    install::node(workspace, "clients/web/test")?;
    for example in SCRIPTS {
        install::node(workspace, example)?;
        workspace.run(cmd!(shell, "npm --prefix {example} run build"))?;
    }
    let binaries = workspace.build_binaries()?;
    let test =
        cmd!(shell, "npm --prefix testing/examples test").env("BIN_DIR", binaries).env("CHROMIUM_PATH", &chromium);
    workspace.tee(test, &mut workspace.log("examples")?)
}
