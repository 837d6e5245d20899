//! Resources by type.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    Deployment, Template, TemplateError,
    evaluate::{Evaluator, ROOT_RESOURCE},
    grants,
    properties::Properties,
};
use crate::stack::{
    AsyncInvoke, EventSourceMapping, Function, GatewayResponse, Grant, Integration, Method, MockResponse, Queue,
    RestApi, Route, Schedule, Stack, StartingPosition, Table, Throttle, WebSocketApi,
};

type Result<T> = std::result::Result<T, TemplateError>;

/// Types without a local counterpart. Their references are checked.
const NOTHING_TO_RUN: [&str; 12] = [
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::RequestValidator",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
];

/// Lambda's defaults: 3 s and 128 MB.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MEMORY_MB: i64 = 128;
/// API Gateway's limit and default for an integration, in milliseconds.
const INTEGRATION_TIMEOUT_MS: i64 = 29_000;

#[derive(Default)]
struct Parts {
    tables: Vec<Table>,
    queues: Vec<Queue>,
    functions: Vec<Function>,
    mappings: Vec<EventSourceMapping>,
    schedules: Vec<Schedule>,
    async_invokes: Vec<(String, String, AsyncInvoke)>,
    rest: Option<(String, String)>,
    rest_stage: Option<String>,
    /// Parent id and path part by resource id.
    paths: BTreeMap<String, (String, String)>,
    methods: Vec<(String, Method)>,
    gateway_responses: Vec<GatewayResponse>,
    socket: Option<(String, String)>,
    socket_stage: Option<String>,
    /// Settings on the stage by route key.
    throttles: BTreeMap<String, Throttle>,
    /// Function and timeout by integration id.
    integrations: BTreeMap<String, (String, Duration)>,
    /// Logical id, route and integration id.
    routes: Vec<(String, Route, String)>,
    route_responses: Vec<String>,
}

/// Returns the resolved resources of a deployment.
pub(super) fn resolved(template: &Template, deployment: &Deployment) -> Result<BTreeMap<String, Value>> {
    Ok(resources(&Evaluator::new(template, deployment)?)?.into_iter().collect())
}

fn resources(evaluator: &Evaluator<'_>) -> Result<Vec<(String, Value)>> {
    let mut resources = Vec::new();
    for (id, resource) in &evaluator.template.resources {
        if !evaluator.exists(id, resource)? {
            continue;
        }
        let empty = Value::Object(Map::new());
        let properties = resource.get("Properties").unwrap_or(&empty);
        let properties = evaluator.value(&format!("{id}.Properties"), properties)?.unwrap_or(empty);
        let mut resource = resource.clone();
        resource["Properties"] = properties;
        resources.push((id.clone(), resource));
    }
    Ok(resources)
}

pub(super) fn build(template: &Template, deployment: &Deployment) -> Result<Stack> {
    let evaluator = Evaluator::new(template, deployment)?;
    let mut parts = Parts::default();
    let resources = resources(&evaluator)?;
    let grants = grants::of_functions(&evaluator, &resources)?;
    for (id, mut resource) in resources {
        let kind = resource.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if NOTHING_TO_RUN.contains(&kind.as_str()) {
            continue;
        }
        let mut properties = Properties::new(format!("{id}.Properties"), resource["Properties"].take())?;
        parts.read(&evaluator, &id, &kind, &mut properties)?;
        properties.finish()?;
    }
    let mut outputs = BTreeMap::new();
    for (id, output) in &template.outputs {
        if evaluator.exists(id, output)? {
            let value = evaluator.value(id, output)?.unwrap_or_default();
            let mut output = Properties::new(id, value)?;
            outputs.insert(id.clone(), output.required_text("Value")?);
        }
    }
    parts.into_stack(deployment, grants, outputs)
}

impl Parts {
    fn read(&mut self, evaluator: &Evaluator<'_>, id: &str, kind: &str, p: &mut Properties) -> Result<()> {
        let reference = || id.to_ascii_lowercase();
        match kind {
            "AWS::DynamoDB::Table" => self.tables.push(table(evaluator, id, p)?),
            "AWS::SQS::Queue" => self.queues.push(queue(evaluator, id, p)?),
            "AWS::Lambda::Function" => self.functions.push(function(evaluator, id, p)?),
            "AWS::Lambda::EventInvokeConfig" => {
                let function = function_name(&p.required_text("FunctionName")?);
                p.ignore(&["Qualifier"]);
                let defaults = AsyncInvoke::default();
                let config = AsyncInvoke {
                    maximum_retry_attempts: p
                        .number("MaximumRetryAttempts", 0..=2)?
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or(defaults.maximum_retry_attempts),
                    maximum_event_age: p
                        .duration("MaximumEventAgeInSeconds", 60..=21_600)?
                        .unwrap_or(defaults.maximum_event_age),
                    on_failure: on_failure(p)?,
                };
                self.async_invokes.push((id.into(), function, config));
            }
            "AWS::Lambda::EventSourceMapping" => self.mappings.push(mapping(id, p)?),
            "AWS::Events::Rule" => self.schedules.push(schedule(evaluator, id, p)?),
            "AWS::ApiGateway::RestApi" => {
                p.ignore(&["Name", "Description", "EndpointConfiguration"]);
                only_one(id, self.rest.replace((id.into(), reference())).is_some())?;
            }
            "AWS::ApiGateway::Stage" => {
                p.required("RestApiId")?;
                p.ignore(&["DeploymentId", "AccessLogSetting", "MethodSettings", "TracingEnabled"]);
                only_one(id, self.rest_stage.replace(p.required_text("StageName")?).is_some())?;
            }
            "AWS::ApiGateway::Resource" => {
                p.required("RestApiId")?;
                let place = (p.required_text("ParentId")?, p.required_text("PathPart")?);
                self.paths.insert(reference(), place);
            }
            "AWS::ApiGateway::Method" => self.methods.push((id.into(), method(p)?)),
            "AWS::ApiGateway::GatewayResponse" => {
                p.required("RestApiId")?;
                self.gateway_responses.push(GatewayResponse {
                    response_type: p.required_text("ResponseType")?,
                    status_code: status(p)?,
                    headers: headers(p, "gatewayresponse.header.")?,
                    templates: p.texts("ResponseTemplates")?,
                });
            }
            "AWS::ApiGatewayV2::Api" => {
                p.exactly("ProtocolType", "WEBSOCKET")?;
                p.ignore(&["Name", "Description"]);
                let expression = p.required_text("RouteSelectionExpression")?;
                only_one(id, self.socket.replace((reference(), expression)).is_some())?;
            }
            "AWS::ApiGatewayV2::Stage" => {
                p.required("ApiId")?;
                p.ignore(&["AutoDeploy", "AccessLogSettings", "DefaultRouteSettings"]);
                if let Some(settings) = p.nested("RouteSettings")? {
                    self.throttles = settings.each(throttle)?;
                }
                only_one(id, self.socket_stage.replace(p.required_text("StageName")?).is_some())?;
            }
            "AWS::ApiGatewayV2::Integration" => {
                p.required("ApiId")?;
                p.exactly("IntegrationType", "AWS_PROXY")?;
                p.ignore(&["IntegrationMethod"]);
                let integration = (invoked(p, "IntegrationUri")?, integration_timeout(p)?);
                self.integrations.insert(reference(), integration);
            }
            "AWS::ApiGatewayV2::Route" => {
                p.required("ApiId")?;
                p.exactly("AuthorizationType", "NONE")?;
                p.ignore(&["RouteResponseSelectionExpression"]);
                let target = p.required_text("Target")?;
                let target = target
                    .strip_prefix("integrations/")
                    .ok_or_else(|| p.error("Target", "must be integrations/<id>"))?;
                let route = Route {
                    route_key: p.required_text("RouteKey")?,
                    function: String::new(),
                    timeout: Duration::ZERO,
                    responds: false,
                    throttle: None,
                };
                self.routes.push((id.into(), route, target.into()));
            }
            "AWS::ApiGatewayV2::RouteResponse" => {
                p.required("ApiId")?;
                p.exactly("RouteResponseKey", "$default")?;
                self.route_responses.push(p.required_text("RouteId")?);
            }
            "" => return Err(TemplateError::at(format!("{id}.Type"), "is required")),
            other => {
                return Err(TemplateError::at(
                    format!("{id}.Type"),
                    format!("{other} is not supported by the local run"),
                ));
            }
        }
        Ok(())
    }

    fn into_stack(
        mut self,
        deployment: &Deployment,
        grants: BTreeMap<String, Vec<Grant>>,
        outputs: BTreeMap<String, String>,
    ) -> Result<Stack> {
        let missing = |what: &str| TemplateError::at("Resources", format!("the local run needs one {what}"));
        for (id, function, config) in self.async_invokes {
            let known = self.functions.iter_mut().find(|known| known.name == function);
            known.ok_or_else(|| unknown(&id, "FunctionName", &function))?.async_invoke = config;
        }
        for mapping in &self.mappings {
            if !self.functions.iter().any(|known| known.name == mapping.function) {
                return Err(unknown(&mapping.logical_id, "FunctionName", &mapping.function));
            }
            if !self
                .tables
                .iter()
                .any(|table| table.name == mapping.table && table.create_request.get("StreamSpecification").is_some())
            {
                return Err(unknown(&mapping.logical_id, "EventSourceArn", &mapping.table));
            }
        }
        for schedule in &self.schedules {
            let is_known = |name: &&String| self.functions.iter().any(|known| known.name == **name);
            if let Some(function) = schedule.functions.iter().find(|name| !is_known(name)) {
                return Err(unknown(&schedule.logical_id, "Targets", function));
            }
        }
        let mut methods = Vec::new();
        for (id, mut method) in self.methods {
            method.path = path(&id, &self.paths, &method.resource_id)?;
            if let Integration::LambdaProxy { function, .. } = &method.integration
                && !self.functions.iter().any(|known| known.name == *function)
            {
                return Err(unknown(&id, "Integration.Uri", function));
            }
            methods.push(method);
        }
        let mut routes = Vec::new();
        for (id, mut route, target) in self.routes {
            let (function, timeout) = self.integrations.get(&target).ok_or_else(|| unknown(&id, "Target", &target))?;
            if !self.functions.iter().any(|known| known.name == *function) {
                return Err(unknown(&id, "Target", function));
            }
            route.function.clone_from(function);
            route.timeout = *timeout;
            route.responds = self.route_responses.contains(&id.to_ascii_lowercase());
            route.throttle = self.throttles.remove(&route.route_key);
            routes.push(route);
        }
        // API Gateway's message for a key without a route.
        if let Some(key) = self.throttles.keys().next() {
            return Err(TemplateError::at("RouteSettings", format!("Unable to find Route by key {key}")));
        }
        let (_, rest_id) = self.rest.ok_or_else(|| missing("AWS::ApiGateway::RestApi"))?;
        let (socket_id, expression) = self.socket.ok_or_else(|| missing("AWS::ApiGatewayV2::Api"))?;
        Ok(Stack {
            name: deployment.stack_name.clone(),
            region: deployment.region.clone(),
            account_id: deployment.account_id.clone(),
            tables: self.tables,
            queues: self.queues,
            functions: self.functions,
            event_source_mappings: self.mappings,
            grants,
            schedules: self.schedules,
            rest_api: RestApi {
                id: rest_id,
                stage: self.rest_stage.ok_or_else(|| missing("AWS::ApiGateway::Stage"))?,
                methods,
                gateway_responses: self.gateway_responses,
            },
            websocket_api: WebSocketApi {
                id: socket_id,
                route_selection_expression: expression,
                stage: self.socket_stage.ok_or_else(|| missing("AWS::ApiGatewayV2::Stage"))?,
                routes,
            },
            outputs,
        })
    }
}

/// Reads the throttle of a message route. Its other settings have no meaning in a local run.
fn throttle(route_key: &str, p: &mut Properties) -> Result<Throttle> {
    if ["$connect", "$disconnect"].contains(&route_key) {
        return Err(p.error("ThrottlingRateLimit", "the local run throttles the routes of messages only"));
    }
    p.ignore(&["LoggingLevel", "DataTraceEnabled", "DetailedMetricsEnabled"]);
    let mut limit = |name: &str| {
        let limit = p.number(name, 1..=i64::from(u32::MAX))?.and_then(|limit| u32::try_from(limit).ok());
        limit.and_then(NonZeroU32::new).ok_or_else(|| p.error(name, "is required"))
    };
    Ok(Throttle { rate: limit("ThrottlingRateLimit")?, burst: limit("ThrottlingBurstLimit")? })
}

fn table(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Table> {
    let name = evaluator.name(id, "TableName")?;
    p.ignore(&[
        "TableName",
        "DeletionProtectionEnabled",
        "SSESpecification",
        "PointInTimeRecoverySpecification",
        "Tags",
    ]);
    p.exactly("BillingMode", "PAY_PER_REQUEST")?;
    let mut request = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": p.required("AttributeDefinitions")?,
        "KeySchema": p.required("KeySchema")?,
    });
    if let Some(indexes) = p.take("GlobalSecondaryIndexes") {
        request["GlobalSecondaryIndexes"] = indexes;
    }
    if let Some(mut stream) = p.nested("StreamSpecification")? {
        // CloudFormation has no StreamEnabled: a view type enables the stream.
        request["StreamSpecification"] =
            json!({"StreamEnabled": true, "StreamViewType": stream.required_text("StreamViewType")?});
        stream.finish()?;
    }
    let mut ttl_attribute = None;
    if let Some(mut ttl) = p.nested("TimeToLiveSpecification")? {
        let attribute = ttl.text("AttributeName")?;
        ttl_attribute = if ttl.flag("Enabled")? == Some(true) { attribute } else { None };
        ttl.finish()?;
    }
    Ok(Table { logical_id: id.into(), name, create_request: request, ttl_attribute })
}

fn queue(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Queue> {
    let name = evaluator.name(id, "QueueName")?;
    p.ignore(&["QueueName", "SqsManagedSseEnabled", "KmsMasterKeyId", "MessageRetentionPeriod", "VisibilityTimeout"]);
    Ok(Queue { logical_id: id.into(), arn: evaluator.arn("sqs", &name), name })
}

fn function(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Function> {
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

fn mapping(id: &str, p: &mut Properties) -> Result<EventSourceMapping> {
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

fn schedule(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Schedule> {
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

fn method(p: &mut Properties) -> Result<Method> {
    p.required("RestApiId")?;
    p.exactly("AuthorizationType", "NONE")?;
    // A request that lacks a path parameter matches no route here, so there is nothing to validate.
    p.ignore(&["MethodResponses", "OperationName", "RequestParameters", "RequestValidatorId"]);
    let mut i = p.nested("Integration")?.ok_or_else(|| p.error("Integration", "is required"))?;
    let integration = match i.required_text("Type")?.as_str() {
        "AWS_PROXY" => {
            i.exactly("IntegrationHttpMethod", "POST")?;
            Integration::LambdaProxy { function: invoked(&mut i, "Uri")?, timeout: integration_timeout(&mut i)? }
        }
        "MOCK" => {
            i.ignore(&["PassthroughBehavior"]);
            let at = i.path("IntegrationResponses");
            let mut responses = Vec::new();
            for response in i.list("IntegrationResponses")? {
                let mut response = Properties::new(&at, response)?;
                responses.push(MockResponse {
                    status_code: status(&mut response)?.ok_or_else(|| response.error("StatusCode", "is required"))?,
                    headers: headers(&mut response, "method.response.header.")?,
                    templates: response.texts("ResponseTemplates")?,
                });
                response.finish()?;
            }
            Integration::Mock { request_templates: i.texts("RequestTemplates")?, responses }
        }
        other => {
            return Err(i.error("Type", format!("{other} is not supported; use AWS_PROXY or MOCK")));
        }
    };
    i.finish()?;
    Ok(Method {
        resource_id: p.required_text("ResourceId")?,
        path: String::new(),
        http_method: p.required_text("HttpMethod")?,
        integration,
    })
}

fn integration_timeout(p: &mut Properties) -> Result<Duration> {
    let milliseconds = p.number("TimeoutInMillis", 50..=INTEGRATION_TIMEOUT_MS)?.unwrap_or(INTEGRATION_TIMEOUT_MS);
    Ok(Duration::from_millis(milliseconds.unsigned_abs()))
}

fn status(p: &mut Properties) -> Result<Option<u16>> {
    Ok(p.number("StatusCode", 100..=599)?.and_then(|status| u16::try_from(status).ok()))
}

/// Reads static headers, without the prefix of the mapping and the quotes of the literal.
fn headers(p: &mut Properties, prefix: &str) -> Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for (name, value) in p.texts("ResponseParameters")? {
        let at = format!("ResponseParameters.{name}");
        let header = name.strip_prefix(prefix).ok_or_else(|| p.error(&at, format!("must begin with {prefix}")))?;
        let literal = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        let literal = literal.ok_or_else(|| p.error(&at, "only a literal in single quotes is supported"))?;
        headers.insert(header.to_owned(), literal.to_owned());
    }
    Ok(headers)
}

/// Returns the function in `arn:…:lambda:path/2015-03-31/functions/<function ARN>/invocations`.
fn invoked(p: &mut Properties, name: &str) -> Result<String> {
    let uri = p.required_text(name)?;
    let arn = uri.split_once("/functions/").and_then(|(_, rest)| rest.strip_suffix("/invocations"));
    Ok(function_name(arn.ok_or_else(|| p.error(name, format!("{uri} does not invoke a function")))?))
}

/// Returns the name of a function that is given by its name or ARN.
fn function_name(name_or_arn: &str) -> String {
    name_or_arn.rsplit(':').next().unwrap_or(name_or_arn).to_owned()
}

fn path(id: &str, paths: &BTreeMap<String, (String, String)>, resource: &str) -> Result<String> {
    let mut path = String::new();
    let mut current = resource;
    for steps in 0.. {
        if current == ROOT_RESOURCE {
            break;
        }
        // Parents may be given as text, and a cycle of them is not found by the check of references.
        if steps > paths.len() {
            return Err(TemplateError::at(format!("{id}.Properties.ResourceId"), "its parents go in a circle"));
        }
        let (parent, part) = paths.get(current).ok_or_else(|| unknown(id, "ResourceId", current))?;
        path = format!("/{part}{path}");
        current = parent;
    }
    Ok(if path.is_empty() { "/".into() } else { path })
}

fn only_one(id: &str, second: bool) -> Result<()> {
    if second { Err(TemplateError::at(id, "the local run supports one of this type")) } else { Ok(()) }
}

fn unknown(id: &str, property: &str, what: &str) -> TemplateError {
    TemplateError::at(format!("{id}.Properties.{property}"), format!("{what} is not in this template"))
}
