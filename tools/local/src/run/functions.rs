//! Builds or finds the functions and starts them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use emulator::{
    doors::{self, Limits as DoorLimits},
    lambda::{Lambda, LambdaConfig, Queues},
};

use super::{
    Error, REGION,
    addresses::Addresses,
    settings::{door_limits, function_log_level},
    storage::Opened,
};
use crate::{binaries, cli::RunOptions};

/// Starts the functions. `dynamodb` is the address of their DynamoDB. Returns them with the queues of their failures.
pub(super) async fn start_functions(
    options: &RunOptions,
    addresses: &Addresses,
    opened: &Opened,
    dynamodb: &str,
) -> Result<(Lambda, Arc<Queues>), Error> {
    let stack = &opened.stack;
    let names: BTreeSet<String> = stack.functions.iter().map(|function| function.binary.clone()).collect();
    let binaries = match (options.bin_dir.clone().or_else(binaries::installed), &opened.template) {
        (Some(folder), _) => binaries::locate(&folder, &names)?,
        (None, Some(template)) => binaries::build(&workspace(template), &names).await?,
        (None, None) => return Err("there are no functions: name their folder with --bin-dir".into()),
    };
    eprintln!("Starting {} functions and {} tables", stack.functions.len(), stack.tables.len());
    let queues = Arc::new(Queues::open(opened.directory.join("queues"))?);
    let lambda = Lambda::new(LambdaConfig {
        environment: function_environment(addresses, dynamodb, function_log_level(&options.log_level)),
        pending_dir: Some(opened.directory.join("pending")),
        quotas: opened.quotas.clone(),
        runtime_limits: DoorLimits { head: door_limits().head, ..doors::RUNTIME_LIMITS },
        ..LambdaConfig::new(stack.functions.clone(), binaries, REGION, queues.clone())
    })?;
    Ok((lambda, queues))
}

/// Returns the variables that point the SDK of the functions to this machine ("Service-specific endpoints" in the AWS
/// SDKs and Tools reference guide), and the other settings of a local run.
fn function_environment(addresses: &Addresses, dynamodb: &str, log_level: &str) -> BTreeMap<String, String> {
    let mut variables = vec![
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("AWS_ENDPOINT_URL_LAMBDA", &addresses.lambda),
        ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &addresses.logs),
        // Delay of span exports in milliseconds. Local functions are never frozen, so a delay is possible: a busy
        // function sends fewer requests. 20 ms does not delay a message noticeably.
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    if !matches!(log_level, "debug" | "trace") {
        // The log lines for CloudWatch metrics are useful at debug level only, because the collector has the metrics.
        variables.push(("METRICS_NAMESPACE", ""));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns the workspace of a template, whose folder `infra/` is in the workspace.
fn workspace(template: &Path) -> PathBuf {
    let absolute = template.canonicalize().unwrap_or_else(|_| template.to_owned());
    absolute.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
