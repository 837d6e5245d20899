//! Opens the data of a run, and resolves the template.

use std::{collections::BTreeMap, path::PathBuf};

use emulator::{
    dynamodb::{self, Engine, Storage},
    quotas::Quotas,
    stack::{Queue, Stack},
    template::{self, Deployment, Template},
};
use serde_json::{Value, json};

use super::{ACCOUNT_ID, Error, REGION, addresses::Addresses, settings::function_log_level};
use crate::{binaries, cli::RunOptions, runs, secret::Secret, token};

const STAGE: &str = "local";

/// Template of the functions that were installed with the program.
const TEMPLATE: &str = include_str!("../../../../infra/backend.yaml");

/// The resolved template with its data.
pub(super) struct Opened {
    /// Path of the template. `None`: the one of the program.
    pub(super) template: Option<PathBuf>,
    pub(super) stack: Stack,
    pub(super) engine: Engine,
    /// Directory of the run's data.
    pub(super) directory: PathBuf,
    pub(super) secret: Secret,
    /// Quotas that all services of the run share.
    pub(super) quotas: Quotas,
}

/// Opens the data, resolves the template with the addresses, adds those of the queues, and creates missing tables.
pub(super) fn open_storage(options: &RunOptions, addresses: &mut Addresses) -> Result<Opened, Error> {
    let template = template_path(options)?;
    let described = match &template {
        Some(path) => template::load(path)?,
        None => Template::parse(TEMPLATE)?,
    };
    let storage = if options.in_memory { Storage::InMemory } else { Storage::Directory(options.data_dir.clone()) };
    let quotas = Quotas::new(options.limits());
    let engine_options = dynamodb::Options {
        region: REGION.into(),
        account_id: ACCOUNT_ID.into(),
        quotas: quotas.clone(),
        ..Default::default()
    };
    let engine = Engine::open(storage, engine_options)?;
    let directory = engine.directory();
    let secret = match Secret::of_parameters(&options.parameters.iter().cloned().collect()) {
        Some(given) => given,
        None if options.in_memory => runs::secret_in_memory()?,
        None => Secret::of_directory(&directory)?,
    };
    let stack = described.resolve(&deployment(addresses, &secret, options))?;
    let url = |queue: &Queue| format!("{}/{ACCOUNT_ID}/{}", addresses.sqs, queue.name);
    addresses.queues = stack.queues.iter().map(|queue| (queue.logical_id.clone(), url(queue))).collect();
    engine.ensure_tables(&stack.tables)?;
    Ok(Opened { template, stack, engine, directory, secret, quotas })
}

/// Returns the template's parameters for one machine. The rate limits are high, to allow load tests; a deployment uses
/// the defaults of the template.
fn deployment(addresses: &Addresses, secret: &Secret, options: &RunOptions) -> Deployment {
    let parameters = [
        ("Stage", STAGE),
        ("TablePrefix", ""),
        ("Disposable", "true"),
        ("JwtIssuer", token::ISSUER),
        ("JwtAudience", token::AUDIENCE),
        ("JwtHs256Secret", secret.as_str()),
        ("SendRate", "1000"),
        ("SendBurst", "1000"),
        ("ConnectRate", "1000"),
        ("ConnectBurst", "1000"),
        ("ConnectionsPerUser", "1000"),
        ("ChannelsPerUser", "1000000"),
        ("ChannelsPerMinute", "100000"),
        ("MembersPerMinute", "100000"),
        ("PresencePerMinute", "100000"),
        ("ActionRate", "1000"),
        ("ActionBurst", "1000"),
        ("FrameRate", "10000"),
        ("FrameBurst", "10000"),
        ("RepliesPerUser", "10000"),
        ("RepliesPerChannel", "10000"),
        ("TokensPerDay", "1000000000"),
        ("OtlpEndpoint", &addresses.otlp),
        ("LogLevel", function_log_level(&options.log_level)),
    ];
    let mut parameters: BTreeMap<String, String> =
        parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    if let (Some(url), Some(model)) = (&options.model_url, &options.model) {
        let chosen = [("ModelProvider", "openai"), ("ModelUrl", url.as_str()), ("Model", model.as_str())];
        parameters.extend(chosen.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    if let Some(continuation) = &options.model_continuation {
        parameters.insert("ModelContinuation".to_owned(), continuation.clone());
    }
    parameters.extend(options.parameters.iter().cloned());
    if options.parameters.iter().all(|(name, _)| name != "JwtHs256Secret") {
        trust_own_issuer(&mut parameters, secret);
    }
    Deployment {
        stack_name: "switchboard".to_owned(),
        region: REGION.to_owned(),
        account_id: ACCOUNT_ID.to_owned(),
        parameters,
        rest_url: addresses.rest.clone(),
        websocket_url: addresses.websocket.clone(),
        management_url: addresses.management.clone(),
    }
}

/// Adds the run's own issuer to those of the parameter `JwtIssuers`, unless it is among them. Otherwise the functions
/// would refuse the tokens of this run. The template takes no secret beside `JwtIssuers`.
fn trust_own_issuer(parameters: &mut BTreeMap<String, String>, secret: &Secret) {
    let Some(given) = parameters.get("JwtIssuers").filter(|given| !given.is_empty()) else { return };
    // The functions refuse what is no array of issuers, with the position of the fault.
    if let Ok(mut issuers) = serde_json::from_str::<Vec<Value>>(given)
        && issuers.iter().all(|one| one["issuer"] != token::ISSUER)
    {
        issuers.push(json!({ "issuer": token::ISSUER, "audience": token::AUDIENCE, "secret": secret.as_str() }));
        parameters.insert("JwtIssuers".to_owned(), Value::from(issuers).to_string());
    }
    parameters.insert("JwtHs256Secret".to_owned(), String::new());
}

/// Returns the given template, or `None` if functions were installed with the program, or that of the workspace. The
/// workspace is found from Cargo's manifest directory, or from the current directory upwards.
fn template_path(options: &RunOptions) -> Result<Option<PathBuf>, Error> {
    if options.template.is_some() {
        return Ok(options.template.clone());
    }
    if binaries::installed().is_some() {
        return Ok(None);
    }
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let current = std::env::current_dir().ok();
    let found = [manifest, current].into_iter().flatten().find_map(|start| {
        start.ancestors().map(|folder| folder.join("infra/backend.yaml")).find(|path| path.is_file())
    });
    found
        .map(Some)
        .ok_or_else(|| "there is no infra/backend.yaml here or above; name the template with --template".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_issuer_is_trusted_beside_others_and_given_once() {
        let own = format!(r#"{{"issuer":"{}","secret":"theirs"}}"#, token::ISSUER);
        for (given, number, hs256) in [
            ("", 0, "s"),
            (r#"[{"issuer":"https://acme.example"}]"#, 2, ""),
            (&format!(r#"[{{"issuer":"https://acme.example"}},{own}]"#), 2, ""),
            (&format!("[{own}]"), 1, ""),
            ("no array", 0, ""),
        ] {
            let pairs = [("JwtIssuers", given), ("JwtHs256Secret", "s")];
            let mut parameters = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            trust_own_issuer(&mut parameters, &Secret::given("s"));
            let issuers: Vec<Value> = serde_json::from_str(&parameters["JwtIssuers"]).unwrap_or_default();
            assert_eq!((issuers.len(), parameters["JwtHs256Secret"].as_str()), (number, hs256), "{given}");
            let of_run = issuers.iter().filter(|one| one["issuer"] == token::ISSUER).count();
            assert_eq!(of_run, usize::from(number > 0), "{given}");
        }
    }
}
