//! Checks of the JavaScript client as other projects get it.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::local_run::{self, LocalRun};
use crate::workspace::Workspace;

/// Checks the report of sizes, the reference, and the packed archive, whose first steps run against a local run in Node and
/// in Chromium.
pub(super) fn javascript(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    let chromium = install::apt(workspace, "chromium")?;
    install::node(workspace, "clients/js")?;
    install::node(workspace, "clients/web/test")?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run size -- --check ../../docs/reports/client-size.md"))?;
    workspace.run(cmd!(shell, "npm --prefix clients/js run reference -- --check"))?;
    let origin = format!("http://127.0.0.1:{}", local_run::free_port()?);
    let local = LocalRun::start(workspace, &["--allow-origin", &origin])?;
    let checks = cmd!(shell, "npm --prefix clients/js run package -- --local")
        .env("SWITCHBOARD_REST", local.address("rest")?)
        .env("SWITCHBOARD_WEBSOCKET", local.address("websocket")?)
        .env("SWITCHBOARD_TOKEN", local.tokens(&["alice".into()])?)
        .env("SWITCHBOARD_ORIGIN", &origin)
        .env("CHROMIUM_PATH", &chromium);
    workspace.run(checks)
}
