#![allow(clippy::unwrap_used, clippy::expect_used)]

//! The template reader: the real template, every intrinsic, every error.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use local::{
    stack::{EventSourceMapping, Integration, Stack, StartingPosition},
    template::{self, Deployment, Template},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deployment() -> Deployment {
    Deployment {
        stack_name: "switchboard".into(),
        region: "eu-west-1".into(),
        account_id: "000000000000".into(),
        parameters: BTreeMap::new(),
        rest_url: "http://127.0.0.1:3000".into(),
        websocket_url: "ws://127.0.0.1:3001".into(),
        management_url: "http://127.0.0.1:3002".into(),
    }
}

fn backend() -> Template {
    template::load(&repository().join("infra/backend.yaml")).unwrap()
}

fn backend_stack() -> Stack {
    backend().resolve(&deployment()).unwrap()
}

fn resolve(text: &str) -> Result<Stack, template::TemplateError> {
    Template::parse(text)?.resolve(&deployment())
}

#[test]
fn every_function_has_a_folder_and_every_folder_a_function() {
    let folders: BTreeSet<String> = std::fs::read_dir(repository().join("services"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let functions: BTreeSet<String> = backend_stack().functions.into_iter().map(|function| function.binary).collect();
    assert_eq!(functions, folders);
}

#[test]
fn tables_become_create_table_requests() {
    let stack = backend_stack();
    let table = |id: &str| stack.tables.iter().find(|table| table.logical_id == id).unwrap();
    let events = table("EventsTable");
    assert_eq!(events.ttl_attribute.as_deref(), Some("expires_at"));
    assert_eq!(
        events.create_request,
        json!({
            "TableName": "chat_events",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "channel_id", "AttributeType": "S"},
                {"AttributeName": "seq", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "channel_id", "KeyType": "HASH"},
                {"AttributeName": "seq", "KeyType": "RANGE"},
            ],
            "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        })
    );
    let text = std::fs::read_to_string(repository().join("infra/backend.yaml")).unwrap();
    let index = "{IndexName: i, KeySchema: [{AttributeName: pk, KeyType: HASH}], Projection: {ProjectionType: ALL}}";
    let schema = "        - {AttributeName: pk, KeyType: HASH}\n        - {AttributeName: sk, KeyType: RANGE}\n";
    let indexed = text.replace(schema, &format!("{schema}      GlobalSecondaryIndexes: [{index}]\n"));
    let tables = resolve(&indexed).unwrap().tables;
    let connections = tables.iter().find(|table| table.logical_id == "ConnectionsTable").unwrap();
    assert_eq!(
        connections.create_request["GlobalSecondaryIndexes"],
        json!([{
            "IndexName": "i",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }])
    );
}

#[test]
fn stage_addresses_become_local_ones() {
    let stack = backend_stack();
    assert_eq!(stack.outputs["RestUrl"], "http://127.0.0.1:3000");
    assert_eq!(stack.outputs["WebSocketUrl"], "ws://127.0.0.1:3001");
    assert_eq!(stack.outputs["ManagementUrl"], "http://127.0.0.1:3002");
    let function = |binary: &str| stack.functions.iter().find(|one| one.binary == binary).unwrap();
    let send = function("send-message");
    assert_eq!(send.environment["MANAGEMENT_URL"], "http://127.0.0.1:3002");
    assert_eq!(send.name, "switchboard-SendMessageFunction");
    assert_eq!(send.async_invoke.maximum_event_age.as_secs(), 300);
    assert!(stack.queues.iter().any(|one| Some(&one.arn) == send.async_invoke.on_failure.as_ref()));
    let delivery = function("chat-delivery-worker");
    assert_eq!(delivery.environment["SEND_MESSAGE_FUNCTION"], send.name);
    assert_eq!(delivery.environment["FANOUT_THRESHOLD"], "200");
}

#[test]
fn the_stream_readers_are_bounded_and_the_agent_reads_only_new_messages_of_users() {
    let stack = backend_stack();
    let reader = |function: &str| {
        let of_events = |one: &&EventSourceMapping| one.function.contains(function) && one.table == "chat_events";
        stack.event_source_mappings.iter().find(of_events).unwrap()
    };
    let agent = reader("ChatAgentWorker");
    let pattern = json!({"eventName": ["INSERT"], "dynamodb": {"NewImage": {"role": {"S": ["user"]}}}});
    assert_eq!(agent.filters, [pattern]);
    let delivery = reader("ChatDeliveryWorker");
    assert_eq!(delivery.filters, [json!({"eventName": ["INSERT", "MODIFY"]})]);
    for mapping in [agent, delivery] {
        assert_eq!(mapping.table, "chat_events");
        assert_eq!(mapping.starting_position, StartingPosition::TrimHorizon);
        assert!(mapping.maximum_retry_attempts.is_some());
        assert!(mapping.maximum_record_age.is_some());
        assert!(mapping.bisect_batch_on_function_error);
        assert!(mapping.report_batch_item_failures);
        assert!(stack.queues.iter().any(|one| Some(&one.arn) == mapping.on_failure.as_ref()));
    }
}

#[test]
fn every_resource_has_one_function_for_all_methods_that_no_other_has() {
    let api = backend_stack().rest_api;
    let resources: BTreeSet<&str> = api.methods.iter().map(|method| method.path.as_str()).collect();
    let known: BTreeSet<&str> = http_api::routes::ROUTES.iter().map(|(resource, _)| *resource).collect();
    assert_eq!(resources, known);
    for method in &api.methods {
        assert!(matches!(method.integration, Integration::LambdaProxy { .. }), "{}", method.path);
    }
    for (resource, methods) in http_api::routes::ROUTES {
        let routed: Vec<&str> = api
            .methods
            .iter()
            .filter(|method| method.path == resource)
            .map(|method| method.http_method.as_str())
            .collect();
        assert!(routed.contains(&"ANY"), "{resource}");
        let named = routed.iter().filter(|method| **method != "ANY");
        for method in named {
            assert!(methods.split(", ").any(|known| known == *method), "{method} {resource}");
        }
    }
}

#[test]
fn access_logs_hold_nothing_that_a_token_may_be_in() {
    let template = backend();
    let mut formats = 0;
    for (id, resource) in template.resources() {
        for setting in ["AccessLogSetting", "AccessLogSettings"] {
            let Some(format) = resource["Properties"][setting]["Format"].as_str() else { continue };
            formats += 1;
            let variables: Vec<&str> = format.split("$context.").skip(1).collect();
            for variable in variables {
                let name = variable.split('"').next().unwrap();
                let known = [
                    "requestId",
                    "requestTimeEpoch",
                    "httpMethod",
                    "resourcePath",
                    "status",
                    "responseLatency",
                    "error.responseType",
                    "connectionId",
                    "eventType",
                    "routeKey",
                ];
                assert!(known.contains(&name), "{id} logs {name}");
            }
        }
    }
    assert_eq!(formats, 2);
}

#[test]
fn metrics_are_made_of_lines_that_the_worker_logs() {
    let template = backend();
    let agent = repository().join("crates/chat/src/agent/mod.rs");
    let worker = repository().join("services/chat-agent-worker/src/handler.rs");
    let sources = [agent, worker].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let filters = template.resources().iter().filter(|(_, resource)| resource["Type"] == "AWS::Logs::MetricFilter");
    let mut count = 0;
    for (id, filter) in filters {
        count += 1;
        let pattern = filter["Properties"]["FilterPattern"].as_str().unwrap();
        let line = pattern.split('"').nth(1).unwrap();
        assert!(sources.contains(&format!("\"{line}\"")), "{id}: nobody logs {line}");
        let value = filter["Properties"]["MetricTransformations"][0]["MetricValue"].as_str().unwrap();
        if let Some(field) = value.strip_prefix("$.") {
            assert!(sources.contains(&format!("{field} = ")), "{id}: no line has {field}");
        }
    }
    assert_eq!(count, 4);
}

#[test]
fn the_upkeep_comes_every_minute() {
    let stack = backend_stack();
    let [schedule] = stack.schedules.as_slice() else { panic!("one schedule") };
    assert_eq!(schedule.every.as_secs(), 60);
    let [function] = schedule.functions.as_slice() else { panic!("one target") };
    assert!(stack.functions.iter().any(|known| known.name == *function && known.binary == "upkeep"));
}

#[test]
fn gateway_responses_are_problems_that_state_no_wrong_status() {
    let responses = backend_stack().rest_api.gateway_responses;
    assert!(responses.iter().any(|one| one.response_type == "DEFAULT_5XX"));
    for response in responses {
        let body: Value = serde_json::from_str(&response.templates["application/json"]).unwrap();
        assert_eq!(body.get("status"), response.status_code.map(Value::from).as_ref());
        assert_eq!(body["instance"], "$context.requestId");
        assert_eq!(response.headers["Content-Type"], "application/problem+json");
        assert_eq!(response.headers["Access-Control-Allow-Origin"], "*");
    }
}

#[test]
fn frames_are_answered_and_connects_are_not() {
    let socket = backend_stack().websocket_api;
    assert_eq!(socket.route_selection_expression, "$request.body.action");
    let responds: BTreeMap<&str, bool> =
        socket.routes.iter().map(|route| (route.route_key.as_str(), route.responds)).collect();
    let expected = [("$connect", false), ("$disconnect", false), ("$default", true), ("sendmessage", true)];
    assert_eq!(responds, BTreeMap::from(expected));
}

#[test]
fn the_deployment_id_follows_the_rest_api() {
    let template = backend();
    let kind = |resource: &Value| resource["Type"].as_str().unwrap_or_default().to_owned();
    let snapshot: Value = template
        .resources()
        .iter()
        .filter(|(_, resource)| {
            matches!(
                kind(resource).strip_prefix("AWS::ApiGateway::"),
                Some("RestApi" | "Resource" | "Method" | "GatewayResponse")
            )
        })
        .map(|(id, resource)| (id.clone(), resource.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let hash = Sha256::digest(canonical(&snapshot).as_bytes());
    let expected = hash[..4].iter().fold("RestDeployment".to_owned(), |id, byte| format!("{id}{byte:02x}"));
    let (id, deployment) =
        template.resources().iter().find(|(_, resource)| kind(resource) == "AWS::ApiGateway::Deployment").unwrap();
    assert_eq!(*id, expected, "the REST API changed: rename {id} in infra/backend.yaml to {expected}");
    let depends = deployment["DependsOn"].as_array().unwrap();
    for (id, resource) in snapshot.as_object().unwrap() {
        if kind(resource).ends_with("Method") || kind(resource).ends_with("Response") {
            assert!(depends.contains(&json!(id)), "{expected} must depend on {id}");
        }
    }
}

/// JSON with sorted keys and no spaces, whatever order the map keeps.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let inner: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value))).collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// The smallest template that resolves, with more in each section.
fn small(parameters: &str, conditions: &str, resources: &str, outputs: &str) -> String {
    format!(
        "Parameters:
  Name: {{Type: String, Default: x}}
{parameters}
Conditions:
  IsX: !Equals [!Ref Name, x]
{conditions}
Resources:
  Api: {{Type: 'AWS::ApiGateway::RestApi'}}
  ApiStage:
    Type: AWS::ApiGateway::Stage
    Properties: {{RestApiId: !Ref Api, StageName: prod}}
  Socket:
    Type: AWS::ApiGatewayV2::Api
    Properties: {{ProtocolType: WEBSOCKET, RouteSelectionExpression: $request.body.action}}
  SocketStage:
    Type: AWS::ApiGatewayV2::Stage
    Properties: {{ApiId: !Ref Socket, StageName: prod}}
  Queue: {{Type: 'AWS::SQS::Queue'}}
{resources}
Outputs:
  Fixed: {{Value: fixed}}
{outputs}
"
    )
}

#[test]
fn intrinsics() {
    let conditions = "  IsNotX: !Not [!Condition IsX]
  Both: !And [!Condition IsX, !Condition IsNotX]
  Either: !Or [!Condition IsX, !Condition IsNotX]";
    let address = "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}";
    for (expression, expected) in [
        ("!Ref Name", "x"),
        ("!Ref AWS::Region", "eu-west-1"),
        ("!GetAtt Queue.Arn", "arn:aws:sqs:eu-west-1:000000000000:switchboard-Queue"),
        ("{Fn::GetAtt: [Queue, QueueName]}", "switchboard-Queue"),
        ("!Sub 'a-${Name}-${Queue.QueueName}-${!Name}'", "a-x-switchboard-Queue-${Name}"),
        ("!Sub ['${Own}-${Name}', {Own: !Ref AWS::AccountId}]", "000000000000-x"),
        ("!Join ['-', [a, !Ref Name, c]]", "a-x-c"),
        ("!Join ['-', [a, !Ref AWS::NoValue, c]]", "a-c"),
        ("!Select [1, [a, b]]", "b"),
        ("!Select [1, !Split ['-', 'a-b-c']]", "b"),
        ("!If [IsX, yes-x, no-x]", "yes-x"),
        ("!If [IsNotX, yes-x, no-x]", "no-x"),
        ("!If [Both, both, one]", "one"),
        ("!If [Either, either, none]", "either"),
        (&format!("!Sub '{address}/${{ApiStage}}/health'"), "http://127.0.0.1:3000/health"),
        (&format!("!Sub '{address}/production'"), "https://api.execute-api.eu-west-1.amazonaws.com/production"),
    ] {
        let text = small("", conditions, "", &format!("  Out: {{Value: {expression}}}"));
        assert_eq!(resolve(&text).unwrap().outputs["Out"], expected, "{expression}");
    }
}

fn assert_errors(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        let error = resolve(text).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn errors_in_resources_name_where_and_what() {
    let resource = |kind: &str, rest: &str| small("", "", &format!("  T: {{Type: '{kind}'{rest}}}"), "");
    let circle = "  A: {Type: 'AWS::IAM::Role', Properties: {Path: !Ref B}}
  B: {Type: 'AWS::IAM::Role', Properties: {Path: !Sub '${A.Arn}'}}";
    let on_demand = ", Properties: {BillingMode: PAY_PER_REQUEST}";
    assert_errors(&[
        (resource("AWS::S3::Bucket", ""), "T.Type: AWS::S3::Bucket is not supported"),
        (
            resource("AWS::SQS::Queue", ", Properties: {FifoQueue: true}"),
            "T.Properties.FifoQueue: this property is not supported",
        ),
        (resource("AWS::DynamoDB::Table", on_demand), "T.Properties.AttributeDefinitions: is required"),
        (
            resource("AWS::DynamoDB::Table", ", Properties: {BillingMode: PROVISIONED}"),
            "T.Properties.BillingMode: must be PAY_PER_REQUEST",
        ),
        (
            resource("AWS::IAM::Role", ", Properties: {Path: !Ref Nobody}"),
            "T.Properties.Path.Ref: no parameter or resource is called Nobody",
        ),
        (resource("AWS::IAM::Role", ", DependsOn: Nobody"), "T.DependsOn: no resource is called"),
        (resource("AWS::IAM::Role", ", Condition: Nobody"), "T.Condition: no condition is called"),
        (small("", "", circle, ""), "circular reference: A → B → A"),
        (
            resource("AWS::Lambda::EventInvokeConfig", ", Properties: {FunctionName: nobody}"),
            "T.Properties.FunctionName: nobody is not in this template",
        ),
        (resource("AWS::ApiGateway::RestApi", ""), "supports one of this type"),
        (
            resource("AWS::Events::Rule", ", Properties: {ScheduleExpression: 'rate(1 minutes)', Targets: []}"),
            "T.Properties.ScheduleExpression: rate(1 minutes) is not supported",
        ),
        (
            resource("AWS::Events::Rule", ", Properties: {ScheduleExpression: rate(2 hours), Targets: [{Arn: x}]}"),
            "T.Properties.Targets: x is not in this template",
        ),
        ("Resources: {}".into(), "needs one AWS::ApiGateway::RestApi"),
        ("Resources: [".into(), "not valid YAML"),
        (format!("{}Transform: x\n", small("", "", "", "")), "Transform: this section is not"),
    ]);
}

#[test]
fn errors_in_expressions_name_where_and_what() {
    let output = |text: &str| small("", "", "", &format!("  Out: {{Value: {text}}}"));
    assert_errors(&[
        (output("!Sub '${Nobody}'"), "Out.Value.Fn::Sub: no parameter or resource is called Nobody"),
        (output("!GetAtt Nobody.Arn"), "Out.Value.Fn::GetAtt: no resource has"),
        (output("!GetAtt Queue.Colour"), "has no attribute Colour"),
        (output("!If [Nobody, a, b]"), "no condition is called \"Nobody\""),
        (output("!Select [2, [a, b]]"), "index 2 is outside the list of 2"),
        (output("!Base64 a"), "Fn::Base64 is not supported"),
    ]);
}

#[test]
fn errors_in_parameters_and_conditions_name_where_and_what() {
    let parameter = |text: &str| small(&format!("  P: {{{text}}}"), "", "", "");
    let circle = "  C1: !Not [!Condition C2]\n  C2: !Not [!Condition C1]";
    assert_errors(&[
        (parameter("Type: String"), "P: has no default"),
        (parameter("Type: 'List<String>', Default: a"), "P.Type"),
        (parameter("Type: String, Default: b, AllowedPattern: 'a+'"), "P: must match a+"),
        (parameter("Type: String, Default: b, AllowedValues: [a]"), "P: must be one of [\"a\"]"),
        (parameter("Type: Number, Default: b"), "P: must be a number"),
        (parameter("Type: Number, Default: 0, MinValue: 1"), "P: is outside"),
        (small("", circle, "", ""), "circular reference: C1 → C2 → C1"),
    ]);
}

#[test]
fn errors_have_the_line_of_the_logical_id() {
    let text = small("", "", "  T: {Type: 'AWS::S3::Bucket'}", "");
    let line = text.lines().position(|line| line.starts_with("  T:")).unwrap() + 1;
    let error = resolve(&text).unwrap_err().to_string();
    assert!(error.starts_with(&format!("line {line}: T.Type")), "{error}");
}

#[test]
fn given_parameters_replace_defaults_and_must_exist() {
    let mut given = deployment();
    given.parameters.insert("TablePrefix".into(), "dev_".into());
    let tables = backend().resolve(&given).unwrap().tables;
    assert!(tables.iter().all(|table| table.name.starts_with("dev_chat_")));
    given.parameters.insert("Nobody".into(), "x".into());
    let error = backend().resolve(&given).unwrap_err().to_string();
    assert!(error.contains("Nobody") && error.contains("no such parameter"), "{error}");
}

#[test]
fn a_message_never_repeats_a_refused_value() {
    let text = small("  P: {Type: String, NoEcho: true, AllowedPattern: '[a-z]+'}", "", "", "");
    let mut given = deployment();
    given.parameters.insert("P".into(), "HUSH-123".into());
    let error = Template::parse(&text).unwrap().resolve(&given).unwrap_err().to_string();
    assert!(error.contains("P: must match") && !error.contains("HUSH"), "{error}");
}
