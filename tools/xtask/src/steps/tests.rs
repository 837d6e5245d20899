//! Tests of the workspaces, and fuzzing.

use std::fs;
use std::io::ErrorKind;

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Runs the test command of the README. The end-to-end tests record the functions' calls for the step `permissions`.
pub(super) fn workspace(workspace: &Workspace) -> Result {
    match fs::remove_dir_all(workspace.target().join("tmp/calls")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    workspace.tee(cmd!(workspace.shell, "cargo test --workspace --locked"), &mut workspace.log("test")?)
}

/// Fuzzes each parser.
pub(super) fn fuzz(workspace: &Workspace) -> Result {
    install::apt(workspace, "g++")?;
    workspace.run(cmd!(workspace.shell, "testing/fuzz/run 10000"))
}
