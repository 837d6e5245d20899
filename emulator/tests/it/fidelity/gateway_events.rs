//! Events of REST APIs with Lambda proxy integration, recorded by `test_apigateway_lambda`,
//! `test_lambda_aws_proxy_integration`. The recorded stage is `stage`; here it is `dev`.

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Value, json};

use crate::rest::{proxy, raw, serve_echo};

/// Sends `GET` with a target as it is, and returns the event of the function.
async fn event_of(target: &str) -> Value {
    let address = serve_echo(vec![proxy("ANY", "/{proxy+}", "proxy"), proxy("GET", "/hardcoded", "hardcoded")]).await;
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let answer = raw(address, request.as_bytes()).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(body).unwrap()["event"].take()
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn paths_and_path_parameters_are_as_the_client_sent_them() {
    let email = "/proxy-value/api/user/test%2Balias@gmail.com/plus/test+alias@gmail.com";
    let (with_email, after_stage) = (format!("/dev{email}"), &email[1..]);
    for (target, path, parameter, of_context) in [
        ("/dev/proxy-value", "/proxy-value", "proxy-value", "/dev/proxy-value"),
        ("/dev/proxy-value/", "/proxy-value/", "proxy-value", "/dev/proxy-value/"),
        (
            "/dev/proxy-value//double-slash",
            "/proxy-value//double-slash",
            "proxy-value//double-slash",
            "/dev/proxy-value//double-slash",
        ),
        ("//dev/proxy-value", "/proxy-value", "proxy-value", "/dev/proxy-value"),
        ("/dev//proxy-value", "/proxy-value", "proxy-value", "/dev//proxy-value"),
        (&with_email, email, after_stage, &with_email),
    ] {
        let event = event_of(target).await;
        assert_eq!(event["path"], path, "{target}");
        assert_eq!(event["pathParameters"], json!({ "proxy": parameter }), "{target}");
        assert_eq!(event["requestContext"]["path"], of_context, "{target}");
        assert_eq!(event["resource"], "/{proxy+}", "{target}");
        assert_eq!(event["requestContext"]["resourcePath"], "/{proxy+}", "{target}");
    }
}

#[tokio::test]
async fn a_resource_without_parameters_has_null() {
    let event = event_of("/dev//hardcoded").await;
    assert_eq!((&event["resource"], &event["path"]), (&json!("/hardcoded"), &json!("/hardcoded")));
    assert_eq!(event["requestContext"]["path"], "/dev//hardcoded");
    assert_eq!(event["pathParameters"], Value::Null);
}

#[tokio::test]
async fn query_parameters_are_decoded_and_a_plus_is_a_space() {
    let event = event_of(
        "/dev/proxy-value/api?dateTimeOffset=2023-06-12T18:05:10.123456+00:00&email=test%2Balias@gmail.com\
         &plus=test+alias@gmail.com&url=https://www.google.com/&whitespace=foo%20bar&zhash=abort/",
    )
    .await;
    let single = json!({
        "dateTimeOffset": "2023-06-12T18:05:10.123456 00:00",
        "email": "test+alias@gmail.com",
        "plus": "test alias@gmail.com",
        "url": "https://www.google.com/",
        "whitespace": "foo bar",
        "zhash": "abort/",
    });
    assert_eq!(event["queryStringParameters"], single);
    let multi: serde_json::Map<String, Value> =
        single.as_object().unwrap().iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    assert_eq!(event["multiValueQueryStringParameters"], Value::Object(multi));
}

#[tokio::test]
async fn of_a_repeated_query_parameter_the_single_value_is_the_last() {
    let event = event_of("/dev/proxy-value?category=electronics&category=books&price=10&price=20&price=30").await;
    assert_eq!(event["queryStringParameters"], json!({ "category": "books", "price": "30" }));
    assert_eq!(
        event["multiValueQueryStringParameters"],
        json!({ "category": ["electronics", "books"], "price": ["10", "20", "30"] })
    );
}

#[tokio::test]
async fn what_a_request_does_not_have_is_null() {
    let event = event_of("/dev/proxy-value").await;
    for name in ["body", "queryStringParameters", "multiValueQueryStringParameters", "stageVariables"] {
        assert_eq!(event.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(event["isBase64Encoded"], false);
}

#[tokio::test]
async fn an_event_has_exactly_the_recorded_fields() {
    let event = event_of("/dev/proxy-value").await;
    let fields = [
        "body",
        "headers",
        "httpMethod",
        "isBase64Encoded",
        "multiValueHeaders",
        "multiValueQueryStringParameters",
        "path",
        "pathParameters",
        "queryStringParameters",
        "requestContext",
        "resource",
        "stageVariables",
    ];
    assert_eq!(names(&event), BTreeSet::from(fields));
    let of_context = [
        "accountId",
        "apiId",
        "deploymentId",
        "domainName",
        "domainPrefix",
        "extendedRequestId",
        "httpMethod",
        "identity",
        "path",
        "protocol",
        "requestId",
        "requestTime",
        "requestTimeEpoch",
        "resourceId",
        "resourcePath",
        "stage",
    ];
    assert_eq!(names(&event["requestContext"]), BTreeSet::from(of_context));
    let of_identity = [
        "accessKey",
        "accountId",
        "caller",
        "cognitoAuthenticationProvider",
        "cognitoAuthenticationType",
        "cognitoIdentityId",
        "cognitoIdentityPoolId",
        "principalOrgId",
        "sourceIp",
        "user",
        "userAgent",
        "userArn",
    ];
    assert_eq!(names(&event["requestContext"]["identity"]), BTreeSet::from(of_identity));
    let context = &event["requestContext"];
    assert_eq!((&context["httpMethod"], &context["stage"]), (&json!("GET"), &json!("dev")));
    assert!(context["requestTimeEpoch"].is_u64() && context["domainPrefix"] == context["apiId"]);
}

#[tokio::test]
async fn a_body_comes_as_text_and_without_its_length() {
    let address = serve_echo(vec![proxy("ANY", "/{proxy+}", "proxy")]).await;
    let sent = Client::new()
        .post(format!("http://{address}/dev/proxy-value"))
        .header("content-type", "application/json;charset=utf-8")
        .header("authorization", "Bearer token123;API key456")
        .body(r#"{"message": "hello world"}"#);
    let event = sent.send().await.unwrap().json::<Value>().await.unwrap()["event"].take();
    assert_eq!(event["body"], r#"{"message": "hello world"}"#);
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["headers"]["Content-Type"], "application/json;charset=utf-8");
    assert_eq!(event["multiValueHeaders"]["Authorization"], json!(["Bearer token123;API key456"]));
    for name in ["X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "Host"] {
        assert!(event["headers"][name].is_string(), "{name}");
    }
    let names = names(&event["headers"]).into_iter().map(str::to_ascii_lowercase);
    assert!(!names.into_iter().any(|name| ["content-length", "connection"].contains(&name.as_str())));
}
