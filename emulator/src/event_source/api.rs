//! `ListEventSourceMappings` of the Lambda API.

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Settings;

/// Returns a mapping in the form of `ListEventSourceMappings`.
pub(super) fn description(settings: &Settings) -> Value {
    let config = &settings.config;
    let filters: Vec<Value> = config.filters.iter().map(|filter| json!({ "Pattern": filter.to_string() })).collect();
    let mut description = json!({
        // AWS uses a UUID. The template's own name is more useful here.
        "UUID": config.logical_id,
        "EventSourceArn": settings.stream.arn,
        "FunctionArn": settings.function_arn(),
        "BatchSize": config.batch_size,
        "State": if config.enabled { "Enabled" } else { "Disabled" },
    });
    if !filters.is_empty() {
        description["FilterCriteria"] = json!({ "Filters": filters });
    }
    if let Some(destination) = &config.on_failure {
        description["DestinationConfig"] = json!({ "OnFailure": { "Destination": destination } });
    }
    description
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(rename = "EventSourceArn")]
    event_source_arn: Option<String>,
    #[serde(rename = "FunctionName")]
    function_name: Option<String>,
}

/// Serves `ListEventSourceMappings`, with all mappings on one page. Requests need no signature.
pub fn router(descriptions: Vec<Value>) -> Router {
    const PATH: &str = "/2015-03-31/event-source-mappings";
    // The path ends with a slash in some versions of the SDKs.
    let router = Router::new().route(PATH, get(list)).route(&format!("{PATH}/"), get(list));
    router.with_state(descriptions)
}

async fn list(State(descriptions): State<Vec<Value>>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let is_wanted = |one: &&Value| {
        let of_stream = wanted.event_source_arn.as_deref().is_none_or(|arn| one["EventSourceArn"] == arn);
        let function = one["FunctionArn"].as_str().unwrap_or_default();
        // Accepts a name or the ARN of a function.
        let of_function = wanted.function_name.as_deref().is_none_or(|name| {
            let name = name.strip_suffix(":$LATEST").unwrap_or(name);
            function == name || function.rsplit(':').next() == Some(name)
        });
        of_stream && of_function
    };
    let found: Vec<&Value> = descriptions.iter().filter(is_wanted).collect();
    Json(json!({ "EventSourceMappings": found }))
}
