//! The resolved template: all parts that the local run starts.
//!
//! [`crate::template`] creates a [`Stack`] from CloudFormation. The services of this crate use only this model. Its
//! names are those of the CloudFormation properties.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::Value;

/// A resolved CloudFormation stack.
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
    /// Permissions of the functions' roles, by the function's name ([`Function::name`]).
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
    /// `QueueName`, or a name generated from stack and logical id.
    pub name: String,
    /// ARN, which destinations use.
    pub arn: String,
}

/// A Lambda function from a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Logical id in the template.
    pub logical_id: String,
    /// `FunctionName`, or a name generated from stack and logical id.
    pub name: String,
    /// ARN. Invocations may use it as the function's name.
    pub arn: String,
    /// Binary inside the image: the last path segment of `Code.ImageUri` before its tag or digest. It is the folder of
    /// the function under `services/`.
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
    /// `AWS::Lambda::EventInvokeConfig` of the function, or AWS's defaults.
    pub async_invoke: AsyncInvoke,
}

/// Action that a policy allows on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Action, such as `dynamodb:GetItem`.
    pub action: String,
    /// ARN, in which `*` stands for any characters.
    pub resource: String,
}

/// Settings of asynchronous invocations of a function.
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
    /// Returns AWS's defaults: two retries, six hours.
    fn default() -> Self {
        Self { maximum_retry_attempts: 2, maximum_event_age: Duration::from_hours(6), on_failure: None }
    }
}

/// Position where an event source mapping starts to read a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartingPosition {
    /// The oldest record.
    TrimHorizon,
    /// Records that are written after the start only.
    Latest,
}

/// Configuration that connects the stream of a table with a function.
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
    /// `FilterCriteria.Filters[].Pattern`, parsed. A record passes if any pattern matches, or if there is no pattern.
    pub filters: Vec<Value>,
    /// `MaximumRetryAttempts`. `None` is AWS's −1: no limit.
    pub maximum_retry_attempts: Option<u32>,
    /// `MaximumRecordAgeInSeconds`. `None` is AWS's −1: no limit.
    pub maximum_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`.
    pub bisect_batch_on_function_error: bool,
    /// `true` if `FunctionResponseTypes` contains `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
    /// `DestinationConfig.OnFailure.Destination`: the ARN of a queue.
    pub on_failure: Option<String>,
}

/// Functions that EventBridge invokes at a fixed rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Logical id in the template.
    pub logical_id: String,
    /// ARN of the rule.
    pub arn: String,
    /// Interval between two invocations, from `ScheduleExpression`.
    pub every: Duration,
    /// Names of the functions ([`Function::name`]).
    pub functions: Vec<String>,
}

/// A REST API (v1).
#[derive(Debug, Clone, PartialEq)]
pub struct RestApi {
    /// Id of the API.
    pub id: String,
    /// `StageName`.
    pub stage: String,
    /// All methods of all resources.
    pub methods: Vec<Method>,
    /// `AWS::ApiGateway::GatewayResponse`s.
    pub gateway_responses: Vec<GatewayResponse>,
}

/// Method of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// Id of the resource.
    pub resource_id: String,
    /// Full path, as in `requestContext.resourcePath`: `/channels/{channel_id}/messages`.
    pub path: String,
    /// `HttpMethod`: `GET`, …, or `ANY`.
    pub http_method: String,
    /// Integration that returns the response.
    pub integration: Integration,
}

/// Integration of a method.
#[derive(Debug, Clone, PartialEq)]
pub enum Integration {
    /// `AWS_PROXY` to a function.
    LambdaProxy {
        /// Name of the function.
        function: String,
        /// `TimeoutInMillis`. The default is 29 s.
        timeout: Duration,
    },
    /// `MOCK`: API Gateway returns a configured response.
    Mock {
        /// `RequestTemplates`, by content type: a template that returns `{"statusCode": N}`.
        request_templates: BTreeMap<String, String>,
        /// `IntegrationResponses`.
        responses: Vec<MockResponse>,
    },
}

/// Response of an [`Integration::Mock`], selected by its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MockResponse {
    /// `StatusCode`.
    pub status_code: u16,
    /// `ResponseParameters`: header name to value, without the `method.response.header.` prefix and the quotes.
    pub headers: BTreeMap<String, String>,
    /// `ResponseTemplates`, by content type. `$context.…` variables are replaced.
    pub templates: BTreeMap<String, String>,
}

/// Response of API Gateway itself to one kind of error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayResponse {
    /// `ResponseType`: `MISSING_AUTHENTICATION_TOKEN`, `DEFAULT_4XX`, ….
    pub response_type: String,
    /// `StatusCode`.
    pub status_code: Option<u16>,
    /// `ResponseParameters`: header name to value, without the `gatewayresponse.header.` prefix and the quotes.
    pub headers: BTreeMap<String, String>,
    /// `ResponseTemplates`, by content type. `$context.…` variables are replaced.
    pub templates: BTreeMap<String, String>,
}

/// A WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketApi {
    /// Id of the API.
    pub id: String,
    /// `RouteSelectionExpression`: `$request.body.<property>`.
    pub route_selection_expression: String,
    /// `StageName`.
    pub stage: String,
    /// Routes of the API.
    pub routes: Vec<Route>,
}

/// Route of a WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `RouteKey`: `$connect`, `$disconnect`, `$default` or a value of the selection expression.
    pub route_key: String,
    /// Name of the function behind the `AWS_PROXY` integration.
    pub function: String,
    /// `TimeoutInMillis`. The default is 29 s.
    pub timeout: Duration,
    /// `true` if a `RouteResponse` (`$default`) sends the function's body to the socket.
    pub responds: bool,
    /// `RouteSettings` of this route in the stage.
    pub throttle: Option<Throttle>,
}

/// Rate limit of a route for all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// `ThrottlingRateLimit` in messages per second.
    pub rate: NonZeroU32,
    /// `ThrottlingBurstLimit`: maximum number of messages at once.
    pub burst: NonZeroU32,
}
