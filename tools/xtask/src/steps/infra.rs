//! Checks of templates, scripts and workflows.

use std::fs;
use std::path::PathBuf;

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Installs cfn-lint, checkov, zizmor and boto's libraries.
fn programs(workspace: &Workspace) -> Result<PathBuf> {
    install::python(workspace, "infra-checks", &["-r", "infra/requirements.txt"])
}

/// Checks the CloudFormation templates, and tests these checks, the alarms, the deployment script, the twins of its rehearsal and
/// the scripts of the images.
pub(super) fn templates(workspace: &Workspace) -> Result {
    let programs = programs(workspace)?;
    let (cfn_lint, checkov, python) = (programs.join("cfn-lint"), programs.join("checkov"), programs.join("python"));
    let shell = &workspace.shell;
    let templates = yaml_files(workspace, "infra")?;
    workspace.run(cmd!(shell, "{cfn_lint} {templates...}"))?;
    let options = ["--framework", "cloudformation", "--skip-download", "--compact", "--quiet"];
    workspace.run(cmd!(shell, "{checkov} --directory infra {options...}"))?;
    workspace.run(cmd!(shell, "{python} infra/check.py"))?;
    workspace.run(cmd!(shell, "{python} infra/test_check.py"))?;
    workspace.run(cmd!(shell, "{python} infra/test_alarms.py"))?;
    workspace.run(cmd!(shell, "{python} infra/test_rehearsal.py"))?;
    install::apt(workspace, "jq")?;
    workspace.run(cmd!(shell, "{python} infra/test_deploy.py"))?;
    workspace.run(cmd!(shell, "python3 images/test_images.py"))
}

/// Rehearses deployments of the built functions on an emulator of AWS.
pub(super) fn rehearsal(workspace: &Workspace) -> Result {
    let binaries = workspace.build_binaries()?;
    let emulator = install::python(workspace, "rehearsal", &["-r", "infra/rehearsal/requirements.txt"])?;
    // The AWS CLI needs another version of boto's libraries than the emulator.
    let cli = install::python(workspace, "aws-cli", &["-r", "infra/rehearsal/aws-cli.txt"])?;
    install::apt(workspace, "jq")?;
    let python = emulator.join("python");
    let path = install::path([emulator, cli])?;
    let logs = workspace.file("target/rehearsal-logs");
    let rehearse = cmd!(workspace.shell, "{python} infra/rehearse.py --binaries {binaries} --keep {logs}");
    workspace.run(rehearse.env("PATH", path))
}

/// Returns the YAML files of a folder, sorted.
fn yaml_files(workspace: &Workspace, folder: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace.file(folder))? {
        let path = PathBuf::from(folder).join(entry?.file_name());
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Checks the GitHub workflows.
pub(super) fn workflows(workspace: &Workspace) -> Result {
    let zizmor = programs(workspace)?.join("zizmor");
    install::node(workspace, ".github/lint")?;
    workspace.run(cmd!(workspace.shell, "npm --prefix .github/lint run lint"))?;
    // Not the whole folder: the packages of .github/lint have workflows too.
    workspace.run(cmd!(workspace.shell, "{zizmor} --offline .github/workflows .github/dependabot.yml"))
}

/// Compares the permissions of each function with the calls that the tests have recorded.
pub(super) fn permissions(workspace: &Workspace) -> Result {
    let calls = workspace.target().join("tmp/calls");
    if !fs::read_dir(&calls).is_ok_and(|mut files| files.next().is_some()) {
        return Err(format!("no calls are recorded in {}: run `cargo xtask ci test` first", calls.display()).into());
    }
    let python = programs(workspace)?.join("python");
    workspace.run(cmd!(workspace.shell, "{python} infra/check.py --calls {calls}"))
}
