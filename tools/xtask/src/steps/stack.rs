//! Tests against the real processes of a local run.

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::local_run::LocalRun;
use crate::workspace::Workspace;

/// Follows one trace from the request to the socket, with a receiver that shares no code with the functions.
pub(super) fn trace(workspace: &Workspace) -> Result {
    let python = install::python(workspace, "telemetry", &["-r", "testing/telemetry/requirements.txt"])?.join("python");
    let binaries = workspace.build_binaries()?;
    let local = binaries.join("local");
    let command = cmd!(workspace.shell, "{python} testing/telemetry/one_trace.py {local} {binaries}");
    workspace.tee(command, &mut workspace.log("trace")?)
}

/// Injects faults into real processes for 24 seconds.
pub(super) fn faults(workspace: &Workspace) -> Result {
    let binaries = workspace.build_binaries()?;
    let faults = binaries.join("faults");
    workspace.run(cmd!(workspace.shell, "{faults} --minutes 0.4 --seed 1 --bin-dir {binaries}"))
}

/// Seeds of the local runs whose streams are read out of phase.
const SEEDS: [&str; 3] = ["1", "2", "3"];

/// Runs the smoke test, with streams that are read at once and out of phase, and compares the ids that HTTP clients of
/// several languages send and receive.
pub(super) fn ids(workspace: &Workspace) -> Result {
    for seed in SEEDS {
        smoke(workspace, &LocalRun::start(workspace, &["--out-of-phase", seed])?)?;
    }
    let shell = &workspace.shell;
    let local = LocalRun::start(workspace, &[])?;
    smoke(workspace, &local)?;

    install::node(workspace, "testing/ids")?;
    let python = install::python(workspace, "ids", &["-r", "testing/ids/requirements.txt"])?.join("python");
    let users: Vec<String> = (1..=12).map(|number| format!("ids-{number}")).collect();
    let test = cmd!(shell, "npm --prefix testing/ids test")
        .env("READY_FILE", local.ready_file())
        .env("TOKENS", local.tokens(&users)?)
        .env("PYTHON", python);
    workspace.tee(test, &mut workspace.log("ids")?)
}

/// Runs the smoke test against a local run.
fn smoke(workspace: &Workspace, local: &LocalRun<'_>) -> Result {
    let (smoke, rest, websocket) =
        (workspace.binaries().join("smoke"), local.address("rest")?, local.address("websocket")?);
    let smoke = cmd!(workspace.shell, "{smoke} --rest {rest} --websocket {websocket}");
    workspace.run(smoke.env("SMOKE_TOKENS", local.tokens(&["one".into(), "two".into()])?))
}

/// Tests the page: its code in Node, and the page itself in Chromium.
pub(super) fn browser(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    let chromium = install::apt(workspace, "chromium")?;
    install::node(workspace, "clients/web/test")?;
    let mut log = workspace.log("browser")?;
    workspace.tee(cmd!(shell, "npm --prefix clients/web/test run test:unit"), &mut log)?;
    let local = LocalRun::start(workspace, &[])?;
    let page = cmd!(shell, "npm --prefix clients/web/test run test:page")
        .env("READY_FILE", local.ready_file())
        .env("CHROMIUM_PATH", &chromium);
    workspace.tee(page, &mut log)?;
    let reply = cmd!(shell, "npm --prefix clients/web/test run test:reply")
        .env("BIN_DIR", workspace.binaries())
        .env("CHROMIUM_PATH", &chromium);
    workspace.tee(reply, &mut log)
}
