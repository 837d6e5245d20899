//! Verification of pacts against the stack.

use std::{
    collections::BTreeSet,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use pact_models::http_utils::HttpAuth;
use pact_verifier::{
    FilterInfo, PactSource, PublishOptions, VerificationOptions, selectors::json_to_selectors,
    verification_result::VerificationExecutionResult, verify_provider_async,
};
use serde_json::{Value, json};

use crate::{
    provider::{Executor, NAME, Provider},
    stack,
};

/// Timeout of a request in milliseconds; API Gateway's own is 29 s.
const REQUEST_TIMEOUT: u64 = 30_000;

/// Options of a verification.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Pact files, and folders with pact files
    #[arg(required_unless_present = "broker")]
    pub pacts: Vec<PathBuf>,
    /// Pact broker whose pacts with switchboard are verified
    #[arg(long, env = "PACT_BROKER_BASE_URL")]
    pub broker: Option<String>,
    /// Token for the broker
    #[arg(long, env = "PACT_BROKER_TOKEN", hide_env_values = true, requires = "broker")]
    pub token: Option<String>,
    /// Branch of the provider, for which the broker decides which pacts are pending
    #[arg(long, default_value = "main")]
    pub provider_branch: String,
    /// Also verify work in progress of consumers since this day, such as 2026-01-31; it never fails a run
    #[arg(long, value_name = "DAY")]
    pub include_wip_since: Option<String>,
    /// Version of the provider, for the published results
    #[arg(long, value_name = "VERSION")]
    pub provider_version: Option<String>,
    /// Publish the results to the broker
    #[arg(long, requires_all = ["broker", "provider_version"])]
    pub publish: bool,
    /// Only interactions whose description matches this regular expression
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Folder with the stack's binaries, to use instead of building them
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
}

/// Result of a verification.
#[derive(Debug)]
pub struct VerificationResult {
    /// The verifier's result.
    pub result: VerificationExecutionResult,
    /// Summary to print.
    pub summary: String,
}

impl VerificationResult {
    /// Returns whether every interaction holds that is not pending.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.result.result
    }
}

/// Starts the stack and verifies the pacts.
pub async fn run(options: &Options) -> Result<VerificationResult> {
    let sources = sources(options)?;
    let bin_dir = match &options.bin_dir {
        Some(folder) => folder.clone(),
        None => stack::build().await?,
    };
    let provider = Provider::start(&bin_dir).await?;
    verify(&provider, sources, options).await
}

/// Verifies the pacts against a running stack.
pub async fn verify(provider: &Provider, sources: Vec<PactSource>, options: &Options) -> Result<VerificationResult> {
    let executor = provider.executor();
    let verification = VerificationOptions::<Executor> {
        request_filter: Some(executor.clone()),
        request_timeout: REQUEST_TIMEOUT,
        coloured_output: std::io::stdout().is_terminal(),
        follow_redirects: false,
        ..VerificationOptions::default()
    };
    let publish = options.publish.then(|| PublishOptions {
        provider_version: options.provider_version.clone(),
        provider_branch: Some(options.provider_branch.clone()),
        ..PublishOptions::default()
    });
    let filter = options.only.clone().map_or(FilterInfo::None, FilterInfo::Description);
    let before = provider.troubles().len();
    let result = verify_provider_async(
        provider.info()?,
        sources,
        filter,
        Vec::new(),
        &verification,
        publish.as_ref(),
        &executor,
        None,
    )
    .await?;
    let mut summary = String::new();
    for (state, why) in provider.troubles().into_iter().skip(before) {
        summary.push_str(&format!("{state}: {why}\n"));
    }
    let consumers: BTreeSet<&str> = result.interaction_results.iter().map(|one| one.consumer.as_str()).collect();
    let failed = result.errors.len();
    let pending = result.pending_errors.len();
    summary.push_str(&format!(
        "{} interactions of {}: {} hold, {failed} fail{}\n",
        result.interaction_results.len(),
        if consumers.is_empty() { "no consumer".to_owned() } else { Vec::from_iter(consumers).join(", ") },
        result.interaction_results.iter().filter(|one| one.result.is_ok()).count(),
        if pending == 0 { String::new() } else { format!("; pending failures, which do not fail the run: {pending}") },
    ));
    Ok(VerificationResult { result, summary })
}

/// Returns the sources of the pacts.
pub fn sources(options: &Options) -> Result<Vec<PactSource>> {
    let mut sources = Vec::new();
    for path in &options.pacts {
        for file in pact_files(path)? {
            sources.push(PactSource::File(file.display().to_string()));
        }
    }
    if let Some(broker) = &options.broker {
        sources.push(PactSource::BrokerWithDynamicConfiguration {
            provider_name: NAME.to_owned(),
            broker_url: broker.clone(),
            enable_pending: true,
            include_wip_pacts_since: options.include_wip_since.clone(),
            provider_tags: Vec::new(),
            provider_branch: Some(options.provider_branch.clone()),
            selectors: json_to_selectors(vec![json!({ "mainBranch": true }), json!({ "deployedOrReleased": true })]),
            auth: options.token.clone().map(HttpAuth::Token),
            links: Vec::new(),
        });
    }
    Ok(sources)
}

/// Returns the pacts with this provider in a file or a folder.
pub fn pact_files(path: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", path.display());
    if !path.is_dir() {
        let name = provider_of(path)?;
        if name.as_deref() != Some(NAME) {
            bail!("{} is not a pact with {NAME}: its provider is {name:?}", path.display());
        }
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(unreadable)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()
        .with_context(unreadable)?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            files.extend(pact_files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "json")
            && provider_of(&entry)?.as_deref() == Some(NAME)
        {
            files.push(entry);
        }
    }
    if files.is_empty() {
        bail!("{} has no pact with {NAME}", path.display());
    }
    Ok(files)
}

fn provider_of(file: &Path) -> Result<Option<String>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pact: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    Ok(pact["provider"]["name"].as_str().map(str::to_owned))
}
