//! The reader: every intrinsic, every error.

use emulator::template::Template;

use super::{bare, resolve};

/// Returns the smallest template that resolves, with additions in each section.
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
    let parents = "  A: {Type: 'AWS::ApiGateway::Resource', Properties: {RestApiId: !Ref Api, ParentId: b, PathPart: a}}
  B: {Type: 'AWS::ApiGateway::Resource', Properties: {RestApiId: !Ref Api, ParentId: a, PathPart: b}}
  M:
    Type: AWS::ApiGateway::Method
    Properties: {RestApiId: !Ref Api, ResourceId: a, HttpMethod: GET, AuthorizationType: NONE, Integration: {Type: MOCK}}";
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
        (
            resource(
                "AWS::Events::Rule",
                ", Properties: {ScheduleExpression: rate(99999999999999999 days), Targets: []}",
            ),
            "is not supported; use rate(1 minute)",
        ),
        (small("", "", "  T: text", ""), "T: must be a mapping"),
        (small("", "", parents, ""), "M.Properties.ResourceId: its parents go in a circle"),
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
    // Each of these references itself.
    let asks = "  Asks: !Equals [!Ref T, x]";
    let asked = "  T: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !If [IsX, a, b]}}";
    let braces = "  a${b: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Sub '${a${b}'}}";
    assert_errors(&[
        (parameter("Type: String"), "P: has no default"),
        (parameter("Type: 'List<String>', Default: a"), "P.Type"),
        (parameter("Type: String, Default: b, AllowedPattern: 'a+'"), "P: must match a+"),
        (parameter("Type: String, Default: b, AllowedValues: [a]"), "P: must be one of [\"a\"]"),
        (parameter("Type: Number, Default: b"), "P: must be a number"),
        (parameter("Type: Number, Default: 0, MinValue: 1"), "P: is outside"),
        (small("", circle, "", ""), "circular reference: C1 → C2 → C1"),
        (small("", asks, asked, ""), "Asks: a condition cannot ask for a resource, T"),
        (small("", "  T: !Not [!Condition T]", asked, ""), "circular reference: T → T"),
        (small("", "", braces, ""), "circular reference: a${b → a${b"),
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
fn a_message_never_repeats_a_refused_value() {
    let text = small("  P: {Type: String, NoEcho: true, AllowedPattern: '[a-z]+'}", "", "", "");
    let mut given = bare();
    given.parameters.insert("P".into(), "HUSH-123".into());
    let error = Template::parse(&text).unwrap().resolve(&given).unwrap_err().to_string();
    assert!(error.contains("P: must match") && !error.contains("HUSH"), "{error}");
}
