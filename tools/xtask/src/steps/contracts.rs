//! Checks of the contracts.

use std::fs;
use std::io::ErrorKind;

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::local_run::LocalRun;
use crate::workspace::Workspace;

/// Checks that `openapi.yaml` and `asyncapi.yaml` are valid, and compatible with the published ones.
pub(super) fn documents(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    let validator = install::python(workspace, "openapi", &["openapi-spec-validator==0.9.0"])?;
    let validator = validator.join("openapi-spec-validator");
    workspace.run(cmd!(shell, "{validator} contracts/openapi.yaml"))?;
    install::node(workspace, "contracts/lint")?;
    workspace.run(cmd!(shell, "npm --prefix contracts/lint run lint"))?;
    workspace.run(cmd!(shell, "cargo contracts compare"))
}

/// Runs the consumers' tests, which write pacts, compares the pacts with the published ones, and verifies the provider.
pub(super) fn pacts(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    // A consumer's test adds to a pact that it finds.
    match fs::remove_dir_all(workspace.file("contracts/target/pacts")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut log = workspace.log("contracts")?;
    let consumers = cmd!(shell, "cargo test --manifest-path contracts/Cargo.toml --workspace --locked");
    workspace.tee(consumers, &mut log)?;
    workspace.run(cmd!(shell, "cargo contracts publish --check"))?;
    workspace.run(cmd!(shell, "cargo contracts verify contracts/published"))
}

/// Generates clients from the documents, compiles them, and lets each talk to a local run. A group chat that was written
/// from the documents follows.
pub(super) fn generated(workspace: &Workspace) -> Result {
    let shell = &workspace.shell;
    install::node(workspace, "testing/generated")?;
    let python = install::python(workspace, "generated", &["-r", "testing/generated/requirements.txt"])?.join("python");
    let local = LocalRun::start(workspace, &[])?;
    let test = cmd!(shell, "npm --prefix testing/generated test")
        .env("READY_FILE", local.ready_file())
        .env("TOKENS", local.tokens(&["alice".to_owned(), "bob".to_owned()])?)
        .env("PYTHON", python);
    let mut log = workspace.log("generated")?;
    workspace.tee(test, &mut log)?;

    // A client that was written from the documents alone. It starts a local run of its own, whose agent writes slowly.
    install::node(workspace, "testing/group-chat")?;
    let test = cmd!(shell, "npm --prefix testing/group-chat test").env("BIN_DIR", workspace.binaries());
    workspace.tee(test, &mut log)
}

/// Sends generated requests to a local run, and compares its responses with `openapi.yaml`. The script has the number of
/// requests.
pub(super) fn requests(workspace: &Workspace) -> Result {
    workspace.build_binaries()?;
    workspace.run(cmd!(workspace.shell, "contracts/schemathesis/run"))
}
