//! Checks of the reports, and of the benchmarks behind them.

use xshell::cmd;

use crate::Result;
use crate::workspace::Workspace;

/// Short runs of each benchmark.
const BENCHMARKS: &[&[&str]] = &[
    &["end-to-end", "--seconds", "1"],
    &["fan-out", "--messages", "2"],
    &["overhead", "--events", "20", "--starts", "2"],
    &["growth", "--operations", "20"],
    &["crowd"],
];

/// Compares the cost report with the counted requests.
pub(super) fn cost(workspace: &Workspace) -> Result {
    workspace.run(cmd!(workspace.shell, "python3 docs/reports/cost.py --check docs/reports/cost.md"))
}

/// Checks that each benchmark runs, and that the report shows the stored results. It compares no times.
pub(super) fn bench(workspace: &Workspace) -> Result {
    let binaries = workspace.build_binaries()?;
    let (shell, bench) = (&workspace.shell, binaries.join("bench"));
    for &arguments in BENCHMARKS {
        workspace.run(cmd!(shell, "{bench} {arguments...} --quick --bin-dir {binaries}"))?;
    }
    // It starts no functions.
    workspace.run(cmd!(shell, "{bench} push --quick"))?;
    workspace.run(cmd!(shell, "python3 docs/reports/performance.py --check"))
}
