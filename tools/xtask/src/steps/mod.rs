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
    /// `true` for a step that a complete run runs beside the others. It needs no binary of the workspace, and writes no
    /// log of tests.
    pub(crate) is_beside: bool,
}

impl Step {
    /// Lets a complete run run this step beside the others.
    const fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }
}

/// All steps, in the order of a complete run: `permissions` reads the calls that `test` records, and `totals` reads the
/// logs of all steps with tests.
pub(crate) const STEPS: &[Step] = &[
    step("fmt", "formatting of all Rust workspaces", source::fmt),
    step("lint", "clippy without warnings", source::lint),
    step("docs", "links, headings, the words of pages and comments, marks of snippets", source::docs),
    step("imports", "import circles, forbidden dependencies, and clients outside `clients/`", source::imports),
    step("infra", "CloudFormation templates and the deployment script", infra::templates).beside(),
    step("workflows", "GitHub workflows: syntax and security", infra::workflows).beside(),
    step("release", "one version in all packages, and changelogs that describe it", release::check).beside(),
    step("documents", "OpenAPI and AsyncAPI: validity and compatibility", contracts::documents).beside(),
    step("test", "all tests of the workspace", tests::workspace),
    step("bedrock", "the event stream of Bedrock, replayed", tests::bedrock),
    step("fuzz", "10,000 inputs for each parser", tests::fuzz),
    step("contracts", "pacts of the consumers, verified by the provider", contracts::pacts),
    step("generated", "clients by four generators, each in a conversation with a local run", contracts::generated),
    step("requests", "generated requests, valid and invalid (schemathesis)", contracts::requests),
    step("trace", "one trace from request to socket, with an independent receiver", stack::trace),
    step("faults", "real processes under injected faults", stack::faults),
    step("crate", "the program of the Rust client's README, with the packaged client", package_rust::check),
    step("cost", "the cost report matches the counted requests", measure::cost),
    step("bench", "benchmarks run, and the performance report matches its results", measure::bench),
    step("rehearsal", "deployments on an emulator of AWS that enforces IAM", infra::rehearsal),
    step("clients", "types and tests of the JavaScript client; conformance of both", clients::packages),
    step("packages", "the JavaScript client as other projects get it, against a local run", packages::javascript),
    step("examples", "the examples, each with a local run and a real client", examples::test),
    step("site", "the site: built, its links checked, its snippets run", site::site),
    step("ids", "smoke test of the local run, also out of phase; ids in HTTP clients", stack::ids),
    step("browser", "the page in headless Chromium", stack::browser),
    step("permissions", "permissions that no test uses; needs the calls that `test` records", infra::permissions),
    step(totals::STEP, "number of tests that passed and failed; needs the logs of the steps with tests", totals::print),
];

const fn step(name: &'static str, about: &'static str, run: fn(&Workspace) -> Result) -> Step {
    Step { name, about, run, is_beside: false }
}
