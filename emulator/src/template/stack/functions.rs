//! Reads functions, and the resources that invoke them: event source mappings and schedules.

use std::{collections::BTreeMap, time::Duration};

use super::Result;
use crate::{
    stack::{AsyncInvoke, EventSourceMapping, Function, Schedule, StartingPosition},
    template::{evaluate::Evaluator, properties::Properties},
};

/// Lambda's defaults: 3 s and 128 MB.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MEMORY_MB: i64 = 128;

pub(super) fn function(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Function> {
    let name = evaluator.name(id, "FunctionName")?;
    p.ignore(&["FunctionName", "Architectures", "Description", "Tags"]);
    p.required("Role")?;
    p.exactly("PackageType", "Image")?;
    let mut code = p.nested("Code")?.ok_or_else(|| p.error("Code", "is required"))?;
    let image = code.required_text("ImageUri")?;
    code.finish()?;
    let last = image.rsplit('/').next().unwrap_or_default();
    let binary = last.split(['@', ':']).next().unwrap_or_default().to_owned();
    let mut environment = BTreeMap::new();
    if let Some(mut block) = p.nested("Environment")? {
        environment = block.texts("Variables")?;
        block.finish()?;
    }
    let mut log_group = format!("/aws/lambda/{name}");
    if let Some(mut logging) = p.nested("LoggingConfig")? {
        logging.ignore(&["LogFormat", "ApplicationLogLevel", "SystemLogLevel"]);
        log_group = logging.text("LogGroup")?.unwrap_or(log_group);
        logging.finish()?;
    }
    let memory = p.number("MemorySize", 128..=10_240)?.unwrap_or(DEFAULT_MEMORY_MB);
    Ok(Function {
        logical_id: id.into(),
        arn: evaluator.arn("lambda", &format!("function:{name}")),
        name,
        binary,
        timeout: p.duration("Timeout", 1..=900)?.unwrap_or(DEFAULT_TIMEOUT),
        memory_mb: u32::try_from(memory).unwrap_or(u32::MAX),
        environment,
        reserved_concurrency: p
            .number("ReservedConcurrentExecutions", 0..=1_000_000)?
            .and_then(|n| usize::try_from(n).ok()),
        log_group,
        async_invoke: AsyncInvoke::default(),
    })
}

/// Reads the settings of a function's asynchronous invocations. Returns them with the function's name.
pub(super) fn async_invoke(p: &mut Properties) -> Result<(String, AsyncInvoke)> {
    let function = function_name(&p.required_text("FunctionName")?);
    p.ignore(&["Qualifier"]);
    let defaults = AsyncInvoke::default();
    let config = AsyncInvoke {
        maximum_retry_attempts: p
            .number("MaximumRetryAttempts", 0..=2)?
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults.maximum_retry_attempts),
        maximum_event_age: p.duration("MaximumEventAgeInSeconds", 60..=21_600)?.unwrap_or(defaults.maximum_event_age),
        on_failure: on_failure(p)?,
    };
    Ok((function, config))
}

pub(super) fn mapping(id: &str, p: &mut Properties) -> Result<EventSourceMapping> {
    let arn = p.required_text("EventSourceArn")?;
    let table =
        arn.split_once(":table/").and_then(|(_, rest)| rest.split_once("/stream/")).map(|(table, _)| table.to_owned());
    let mut filters = Vec::new();
    if let Some(mut criteria) = p.nested("FilterCriteria")? {
        let at = criteria.path("Filters");
        for filter in criteria.list("Filters")? {
            let mut filter = Properties::new(&at, filter)?;
            let pattern = filter.required_text("Pattern")?;
            filters.push(
                serde_json::from_str(&pattern)
                    .map_err(|error| filter.error("Pattern", format!("is not JSON: {error}")))?,
            );
            filter.finish()?;
        }
        criteria.finish()?;
    }
    let starting_position = match p.required_text("StartingPosition")?.as_str() {
        "TRIM_HORIZON" => StartingPosition::TrimHorizon,
        "LATEST" => StartingPosition::Latest,
        other => {
            return Err(p.error("StartingPosition", format!("must be TRIM_HORIZON or LATEST, not {other}")));
        }
    };
    let mut size = |name: &str, default: usize, range| -> Result<usize> {
        Ok(p.number(name, range)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(default))
    };
    let batch_size = size("BatchSize", 100, 1..=10_000)?;
    let parallelization_factor = size("ParallelizationFactor", 1, 1..=10)?;
    let response_types = p.list("FunctionResponseTypes")?;
    if let Some(other) = response_types.iter().find(|kind| *kind != "ReportBatchItemFailures") {
        return Err(p.error("FunctionResponseTypes", format!("{other} is not supported")));
    }
    Ok(EventSourceMapping {
        logical_id: id.into(),
        function: function_name(&p.required_text("FunctionName")?),
        table: table.ok_or_else(|| p.error("EventSourceArn", format!("{arn} is not the stream of a table")))?,
        enabled: p.flag("Enabled")?.unwrap_or(true),
        starting_position,
        batch_size,
        batching_window: p.duration("MaximumBatchingWindowInSeconds", 0..=300)?.unwrap_or_default(),
        parallelization_factor,
        filters,
        // −1 means no limit and does not fit into `u32`.
        maximum_retry_attempts: p.number("MaximumRetryAttempts", -1..=10_000)?.and_then(|n| u32::try_from(n).ok()),
        maximum_record_age: p.duration("MaximumRecordAgeInSeconds", -1..=604_800)?,
        bisect_batch_on_function_error: p.flag("BisectBatchOnFunctionError")?.unwrap_or(false),
        report_batch_item_failures: !response_types.is_empty(),
        on_failure: on_failure(p)?,
    })
}

pub(super) fn schedule(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Schedule> {
    let name = evaluator.name(id, "Name")?;
    p.ignore(&["Name", "Description"]);
    let expression = p.required_text("ScheduleExpression")?;
    let every = rate(&expression)
        .ok_or_else(|| p.error("ScheduleExpression", format!("{expression} is not supported; use rate(1 minute)")))?;
    let at = p.path("Targets");
    let mut functions = Vec::new();
    for target in p.list("Targets")? {
        let mut target = Properties::new(&at, target)?;
        target.ignore(&["Id"]);
        functions.push(function_name(&target.required_text("Arn")?));
        target.finish()?;
    }
    Ok(Schedule { logical_id: id.into(), arn: evaluator.arn("events", &format!("rule/{name}")), every, functions })
}

/// Parses `rate(value unit)` ("Setting a schedule pattern for rules (legacy) in Amazon EventBridge"). The value 1
/// requires a singular unit.
fn rate(expression: &str) -> Option<Duration> {
    let (value, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let value: u64 = value.parse().ok().filter(|value| *value > 0)?;
    let seconds: u64 = match (value, unit) {
        (1, "minute") | (2.., "minutes") => 60,
        (1, "hour") | (2.., "hours") => 60 * 60,
        (1, "day") | (2.., "days") => 24 * 60 * 60,
        _ => return None,
    };
    value.checked_mul(seconds).map(Duration::from_secs)
}

fn on_failure(p: &mut Properties) -> Result<Option<String>> {
    let Some(mut config) = p.nested("DestinationConfig")? else {
        return Ok(None);
    };
    let mut destination = None;
    if let Some(mut failure) = config.nested("OnFailure")? {
        destination = Some(failure.required_text("Destination")?);
        failure.finish()?;
    }
    config.finish()?;
    Ok(destination)
}

/// Returns the function in `arn:…:lambda:path/2015-03-31/functions/<function ARN>/invocations`.
pub(super) fn invoked(p: &mut Properties, name: &str) -> Result<String> {
    let uri = p.required_text(name)?;
    let arn = uri.split_once("/functions/").and_then(|(_, rest)| rest.strip_suffix("/invocations"));
    Ok(function_name(arn.ok_or_else(|| p.error(name, format!("{uri} does not invoke a function")))?))
}

/// Returns the name of a function that is given by its name or ARN.
fn function_name(name_or_arn: &str) -> String {
    name_or_arn.rsplit(':').next().unwrap_or(name_or_arn).to_owned()
}
