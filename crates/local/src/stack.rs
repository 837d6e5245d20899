//! The template, resolved: everything that the local run has to bring up, and nothing else.
//!
//! [`crate::template`] makes a [`Stack`] from CloudFormation; the services of this crate only ever see this
//! model. Its names are those of the CloudFormation properties they come from.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::Value;

/// One resolved CloudFormation stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// `AWS::StackName`.
    pub name: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`.
    pub account_id: String,
    /// `AWS::DynamoDB::Table`.
    pub tables: Vec<Table>,
    /// `AWS::SQS::Queue`: on-failure destinations.
    pub queues: Vec<Queue>,
    /// `AWS::Lambda::Function`.
    pub functions: Vec<Function>,
    /// `AWS::Lambda::EventSourceMapping`.
    pub event_source_mappings: Vec<EventSourceMapping>,
    /// What the roles of the functions allow, by the function's name ([`Function::name`]).
    pub grants: BTreeMap<String, Vec<Grant>>,
    /// `AWS::Events::Rule` with a schedule.
    pub schedules: Vec<Schedule>,
    /// `AWS::ApiGateway::RestApi` with its resources, methods, gateway responses and stage.
    pub rest_api: RestApi,
    /// `AWS::ApiGatewayV2::Api` (`ProtocolType: WEBSOCKET`) with its routes, integrations and stage.
    pub websocket_api: WebSocketApi,
    /// The resolved `Outputs`.
    pub outputs: BTreeMap<String, String>,
}

/// A DynamoDB table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Logical id in the template.
    pub logical_id: String,
    /// `TableName`.
    pub name: String,
    /// The body of the `CreateTable` request: `TableName`, `AttributeDefinitions`, `KeySchema`,
    /// `BillingMode`, `GlobalSecondaryIndexes`, and `StreamSpecification` with its `StreamEnabled`.
    pub create_request: Value,
    /// `TimeToLiveSpecification.AttributeName`, when enabled.
    pub ttl_attribute: Option<String>,
}

/// An SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Logical id in the template.
    pub logical_id: String,
    /// `QueueName`, or a name made from stack and logical id.
    pub name: String,
    /// ARN, by which destinations name it.
    pub arn: String,
}

/// A Lambda function from a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Logical id in the template.
    pub logical_id: String,
    /// `FunctionName`, or a name made from stack and logical id.
    pub name: String,
    /// ARN; invocations may name the function by it.
    pub arn: String,
    /// The binary inside the image: the last path segment of `Code.ImageUri` before its tag or digest,
    /// which is the folder of the function under `services/`.
    pub binary: String,
    /// `Timeout`.
    pub timeout: Duration,
    /// `MemorySize` in MB.
    pub memory_mb: u32,
    /// `Environment.Variables`.
    pub environment: BTreeMap<String, String>,
    /// `ReservedConcurrentExecutions`.
    pub reserved_concurrency: Option<usize>,
    /// `LoggingConfig.LogGroup`, or `/aws/lambda/<name>`.
    pub log_group: String,
    /// `AWS::Lambda::EventInvokeConfig` of the function, or its defaults.
    pub async_invoke: AsyncInvoke,
}

/// One action that a policy allows on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Such as `dynamodb:GetItem`.
    pub action: String,
    /// ARN, in which `*` stands for any characters.
    pub resource: String,
}

/// How Lambda treats asynchronous invocations of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsyncInvoke {
    /// `MaximumRetryAttempts`, 0 to 2.
    pub maximum_retry_attempts: u32,
    /// `MaximumEventAgeInSeconds`.
    pub maximum_event_age: Duration,
    /// `DestinationConfig.OnFailure.Destination`: the ARN of a queue.
    pub on_failure: Option<String>,
}

impl Default for AsyncInvoke {
    /// AWS's defaults: two retries, six hours.
    fn default() -> Self {
        Self { maximum_retry_attempts: 2, maximum_event_age: Duration::from_hours(6), on_failure: None }
    }
}

/// Where an event source mapping starts in a stream that it has not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartingPosition {
    /// The oldest record.
    TrimHorizon,
    /// Only what is written from now on.
    Latest,
}

/// A stream of a table, feeding a function.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSourceMapping {
    /// Logical id in the template.
    pub logical_id: String,
    /// Name of the function ([`Function::name`]).
    pub function: String,
    /// Name of the table ([`Table::name`]) whose stream is read.
    pub table: String,
    /// `Enabled`.
    pub enabled: bool,
    /// `StartingPosition`.
    pub starting_position: StartingPosition,
    /// `BatchSize`.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`.
    pub batching_window: Duration,
    /// `ParallelizationFactor`, 1 to 10.
    pub parallelization_factor: usize,
    /// `FilterCriteria.Filters[].Pattern`, parsed. A record passes when any pattern matches, or none is given.
    pub filters: Vec<Value>,
    /// `MaximumRetryAttempts`; `None` is AWS's −1, without end.
    pub maximum_retry_attempts: Option<u32>,
    /// `MaximumRecordAgeInSeconds`; `None` is AWS's −1, without end.
    pub maximum_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`.
    pub bisect_batch_on_function_error: bool,
    /// `FunctionResponseTypes` holds `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
    /// `DestinationConfig.OnFailure.Destination`: the ARN of a queue.
    pub on_failure: Option<String>,
}

/// Functions that EventBridge invokes at a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Logical id in the template.
    pub logical_id: String,
    /// ARN of the rule.
    pub arn: String,
    /// Between two invocations, from `ScheduleExpression`.
    pub every: Duration,
    /// Names of the functions ([`Function::name`]).
    pub functions: Vec<String>,
}

/// A REST API (v1).
#[derive(Debug, Clone, PartialEq)]
pub struct RestApi {
    /// The API's id.
    pub id: String,
    /// `StageName`.
    pub stage: String,
    /// Every method of every resource.
    pub methods: Vec<Method>,
    /// `AWS::ApiGateway::GatewayResponse`s.
    pub gateway_responses: Vec<GatewayResponse>,
}

/// One method of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// The resource's id.
    pub resource_id: String,
    /// Full path, as in `requestContext.resourcePath`: `/channels/{channel_id}/messages`.
    pub path: String,
    /// `HttpMethod`: `GET`, …, or `ANY`.
    pub http_method: String,
    /// What answers.
    pub integration: Integration,
}

/// What answers a method.
#[derive(Debug, Clone, PartialEq)]
pub enum Integration {
    /// `AWS_PROXY` to a function.
    LambdaProxy {
        /// Name of the function.
        function: String,
        /// `TimeoutInMillis`; 29 s unless set.
        timeout: Duration,
    },
    /// `MOCK`: API Gateway answers by itself.
    Mock {
        /// `RequestTemplates`, by content type: a template that yields `{"statusCode": N}`.
        request_templates: BTreeMap<String, String>,
        /// `IntegrationResponses`.
        responses: Vec<MockResponse>,
    },
}

/// One answer of a [`Integration::Mock`], chosen by its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MockResponse {
    /// `StatusCode`.
    pub status_code: u16,
    /// `ResponseParameters`: header name to value, without the `method.response.header.` prefix and the quotes.
    pub headers: BTreeMap<String, String>,
    /// `ResponseTemplates`, by content type; `$context.…` variables are filled in.
    pub templates: BTreeMap<String, String>,
}

/// What API Gateway answers by itself for one kind of error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayResponse {
    /// `ResponseType`: `MISSING_AUTHENTICATION_TOKEN`, `DEFAULT_4XX`, ….
    pub response_type: String,
    /// `StatusCode`.
    pub status_code: Option<u16>,
    /// `ResponseParameters`: header name to value, without the `gatewayresponse.header.` prefix and the quotes.
    pub headers: BTreeMap<String, String>,
    /// `ResponseTemplates`, by content type; `$context.…` variables are filled in.
    pub templates: BTreeMap<String, String>,
}

/// A WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketApi {
    /// The API's id.
    pub id: String,
    /// `RouteSelectionExpression`: `$request.body.<property>`.
    pub route_selection_expression: String,
    /// `StageName`.
    pub stage: String,
    /// The routes.
    pub routes: Vec<Route>,
}

/// One route of a WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `RouteKey`: `$connect`, `$disconnect`, `$default` or a value of the selection expression.
    pub route_key: String,
    /// Name of the function behind the `AWS_PROXY` integration.
    pub function: String,
    /// `TimeoutInMillis`; 29 s unless set.
    pub timeout: Duration,
    /// Whether a `RouteResponse` (`$default`) sends the function's body back on the socket.
    pub responds: bool,
    /// The stage's `RouteSettings` of this route.
    pub throttle: Option<Throttle>,
}

/// How many messages a route takes, of all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// `ThrottlingRateLimit`: messages a second.
    pub rate: NonZeroU32,
    /// `ThrottlingBurstLimit`: messages at once.
    pub burst: NonZeroU32,
}
