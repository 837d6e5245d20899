//! The steps of `cargo xtask ci`.
//!
//! Each step runs alone, may be repeated, and installs the programs that it needs.

mod clients;
mod contracts;
mod examples;
mod infra;
mod measure;
mod package_rust;
mod packages;
mod site;
mod source;
mod stack;
mod tests;

use crate::Result;
use crate::release;
use crate::totals;
use crate::workspace::Workspace;

/// One check.
pub(crate) struct Step {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// Line of `--list`.
    pub(crate) about: &'static str,
    /// Runs the check.
    pub(crate) run: fn(&Workspace) -> Result,
    /// Place in a complete run.
    pub(crate) lane: Lane,
}

/// Place of a step in a complete run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// One after another.
    Main,
    /// Beside the others, from the beginning and at the lowest priority. The step needs no binary of the workspace, and
    /// writes no log of tests.
    NoBinaries,
    /// Beside the others, once the binaries are built. These steps share installed packages: no other step uses them.
    WithBinaries,
}

impl Step {
    /// Returns the step in another lane than [`Lane::Main`].
    const fn in_lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }
}

/// All steps, in the order of their lanes: `permissions` reads the calls that `test` records, and `totals` reads the
/// logs of all steps with tests.
pub(crate) const STEPS: &[Step] = &[
    step("fmt", "formatting of all Rust workspaces", source::fmt),
    step("lint", "clippy without warnings", source::lint),
    step("docs", "links, headings, the words of pages and comments, marks of snippets", source::docs),
    step("imports", "import circles, forbidden dependencies, and clients outside `clients/`", source::imports),
    step("infra", "CloudFormation templates and the deployment script", infra::templates).in_lane(Lane::NoBinaries),
    step("workflows", "GitHub workflows: syntax and security", infra::workflows).in_lane(Lane::NoBinaries),
    step("release", "one version in all packages, and changelogs that describe it", release::check)
        .in_lane(Lane::NoBinaries),
    step("documents", "OpenAPI and AsyncAPI: validity and compatibility", contracts::documents)
        .in_lane(Lane::NoBinaries),
    step("test", "all tests of the workspace", tests::workspace),
    step("fuzz", "10,000 inputs for each parser", tests::fuzz),
    step("contracts", "pacts of the consumers, verified by the provider", contracts::pacts),
    step("generated", "clients by four generators, each in a conversation with a local run", contracts::generated),
    step("requests", "generated requests, valid and invalid (schemathesis)", contracts::requests)
        .in_lane(Lane::WithBinaries),
    step("trace", "one trace from request to socket, with an independent receiver", stack::trace),
    step("faults", "real processes under injected faults", stack::faults),
    step("crate", "the program of the Rust client's README, with the packaged client", package_rust::check),
    step("cost", "the cost report matches the counted requests", measure::cost),
    step("bench", "benchmarks run, and the performance report matches its results", measure::bench),
    step("rehearsal", "deployments on an emulator of AWS that enforces IAM", infra::rehearsal)
        .in_lane(Lane::WithBinaries),
    step("clients", "types and tests of the JavaScript client; conformance of both", clients::packages)
        .in_lane(Lane::WithBinaries),
    step("packages", "the JavaScript client as other projects get it, against a local run", packages::javascript)
        .in_lane(Lane::WithBinaries),
    step("examples", "the examples, each with a local run and a real client", examples::test)
        .in_lane(Lane::WithBinaries),
    step("site", "the site: built, its links checked, its snippets run", site::site).in_lane(Lane::WithBinaries),
    step("ids", "smoke test of the local run, also out of phase; ids in HTTP clients", stack::ids),
    step("browser", "the page in headless Chromium", stack::browser).in_lane(Lane::WithBinaries),
    step("permissions", "permissions that no test uses; needs the calls that `test` records", infra::permissions),
    step(totals::STEP, "number of tests that passed and failed; needs the logs of the steps with tests", totals::print),
];

const fn step(name: &'static str, about: &'static str, run: fn(&Workspace) -> Result) -> Step {
    Step { name, about, run, lane: Lane::Main }
}
