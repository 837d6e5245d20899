//! The source of telemetry, by the semantic conventions ("Resource: FaaS", "Resource: Cloud").

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::variable;

/// Returns the attributes of the function from Lambda's variables ("Defined runtime environment variables" in the
/// Lambda developer guide). `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` take precedence.
pub(crate) fn detect() -> Resource {
    let known = [
        ("service.name", variable("AWS_LAMBDA_FUNCTION_NAME")),
        ("service.namespace", Some("switchboard".to_owned())),
        ("service.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("cloud.provider", Some("aws".to_owned())),
        ("cloud.platform", Some("aws_lambda".to_owned())),
        ("cloud.region", variable("AWS_REGION")),
        ("faas.name", variable("AWS_LAMBDA_FUNCTION_NAME")),
        ("faas.version", variable("AWS_LAMBDA_FUNCTION_VERSION")),
        ("faas.instance", variable("AWS_LAMBDA_LOG_STREAM_NAME")),
    ];
    let mut attributes: Vec<KeyValue> =
        known.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?))).collect();
    let megabytes = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|size| size.parse::<i64>().ok());
    // The attribute is in bytes, Lambda's variable in megabytes.
    attributes.extend(megabytes.map(|megabytes| KeyValue::new("faas.max_memory", megabytes * 1024 * 1024)));
    let own = Resource::builder_empty().with_attributes(attributes).build();
    let given = opentelemetry_sdk::resource::EnvResourceDetector::new();
    let sdk = opentelemetry_sdk::resource::TelemetryResourceDetector;
    let builder = Resource::builder_empty()
        .with_attributes(own.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .with_detectors(&[Box::new(sdk), Box::new(given)]);
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}
