//! Check of the site.

use std::path::{Path, PathBuf};

use xshell::cmd;

use crate::Result;
use crate::install;
use crate::local_run::{self, LocalRun};
use crate::workspace::Workspace;

/// Packages of the generator, mdBook among them.
const REQUIREMENTS: &str = "tools/site/requirements.txt";

/// Builds the site with the help of the built program, checks its links, and runs its snippets against a local run.
pub(super) fn site(workspace: &Workspace) -> Result {
    let programs = install::python(workspace, "site-tools", &["-r", REQUIREMENTS])?;
    let binaries = workspace.build_binaries()?;
    build(workspace, &programs, &binaries)?;
    snippets(workspace, &programs, &binaries)
}

/// Builds the site into `target/site/book`, and checks the result. `SITE_REPOSITORY` and `SITE_URL` name the addresses of
/// the repository and of the site.
fn build(workspace: &Workspace, programs: &Path, binaries: &Path) -> Result {
    let (shell, python, mdbook) = (&workspace.shell, programs.join("python"), programs.join("mdbook"));
    workspace.run(cmd!(shell, "{python} -m unittest discover --start-directory tools/site"))?;
    workspace.run(cmd!(shell, "{python} tools/site/pictures.py --check"))?;
    let mut options: Vec<PathBuf> = vec!["--mdbook".into(), mdbook];
    let program = binaries.join("switchboard");
    if program.exists() {
        options.extend(["--program".into(), program]);
    }
    for (option, variable) in [("--repository", "SITE_REPOSITORY"), ("--site-url", "SITE_URL")] {
        if let Ok(value) = shell.var(variable) {
            options.extend([option.into(), value.into()]);
        }
    }
    workspace.run(cmd!(shell, "{python} tools/site/build.py {options...}"))?;
    workspace.run(cmd!(shell, "{python} tools/site/check.py"))
}

/// Runs the snippets. The page of the React guide needs Chromium, and the packages of the JavaScript client.
fn snippets(workspace: &Workspace, programs: &Path, binaries: &Path) -> Result {
    let (shell, python) = (&workspace.shell, programs.join("python"));
    let chromium = install::apt(workspace, "chromium")?;
    install::node(workspace, "clients/js")?;
    install::node(workspace, "clients/web/test")?;
    workspace.run(cmd!(shell, "{python} -m unittest discover --start-directory testing/site"))?;
    let origin = format!("http://localhost:{}", local_run::free_port()?);
    let local = LocalRun::start(workspace, &["--allow-origin", &origin])?;
    let run = cmd!(shell, "{python} testing/site/run.py")
        .env("SITE_LOCAL", binaries.join("local"))
        .env("SITE_BIN_DIR", binaries)
        .env("SITE_READY", local.ready_file())
        .env("SITE_ORIGIN", &origin)
        .env("CHROMIUM_PATH", &chromium);
    workspace.tee(run, &mut workspace.log("site")?)
}
