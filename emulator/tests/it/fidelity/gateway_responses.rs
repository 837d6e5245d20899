//! Responses of REST APIs, recorded by `test_apigateway_lambda`, `test_aws_proxy_response_payload_format_validation`, and
//! by `test_apigateway_common`, `test_routing_not_found` and `test_invocation_trace_id`.

use std::collections::BTreeMap;

use emulator::stack::{Integration, Method, MockResponse};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::rest::{api, fails, get, header, proxy, serve, strings, succeeds};

const ERROR: &str = r#"{"message":"Internal server error"}"#;

/// Returns the response of the gateway to the response of a function.
async fn answer(of_function: &Value) -> Response {
    let address = serve(api(vec![proxy("POST", "/", "f")], Vec::new()), |_, event| {
        succeeds(event["body"].as_str().unwrap().to_owned())
    })
    .await;
    Client::new().post(format!("http://{address}/dev")).body(of_function.to_string()).send().await.unwrap()
}

#[tokio::test]
async fn good_responses_pass() {
    for (of_function, status, body) in [
        (json!({ "statusCode": 200 }), 200, ""),
        (json!({ "statusCode": 200, "headers": null }), 200, ""),
        (json!({ "statusCode": "201" }), 201, ""),
        (json!({ "headers": { "test-header": "value" } }), 200, ""),
        (json!({ "statusCode": 200, "body": "dGVzdC1kYXRh", "isBase64Encoded": true }), 200, "dGVzdC1kYXRh"),
        (json!({ "statusCode": 200, "body": "dGVzdC1kYXRh" }), 200, "dGVzdC1kYXRh"),
    ] {
        let response = answer(&of_function).await;
        assert_eq!(response.status().as_u16(), status, "{of_function}");
        assert_eq!(header(&response, "content-type"), Some("application/json"), "{of_function}");
        assert_eq!(response.text().await.unwrap(), body, "{of_function}");
    }
}

#[tokio::test]
async fn malformed_responses_are_a_502_with_the_gateways_body() {
    for of_function in [
        json!({ "statusCode": 200, "wrongValue": "value" }),
        json!({}),
        json!({ "statusCode": 200, "multiValueHeaders": { "test-multi-invalid": "value1" } }),
        json!({ "statusCode": "test" }),
        json!("justAString"),
    ] {
        let response = answer(&of_function).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{of_function}");
        assert_eq!(header(&response, "content-type"), Some("application/json"), "{of_function}");
        assert_eq!(header(&response, "x-amzn-errortype"), Some("InternalServerErrorException"), "{of_function}");
        assert_eq!(response.text().await.unwrap(), ERROR, "{of_function}");
    }
}

#[tokio::test]
async fn values_of_headers_become_text() {
    let response =
        answer(&json!({ "statusCode": 200, "headers": { "test-header": "value", "header-bool": true } })).await;
    assert_eq!((header(&response, "test-header"), header(&response, "header-bool")), (Some("value"), Some("true")));
}

#[tokio::test]
async fn both_kinds_of_headers_are_lines_the_multiple_ones_first() {
    for (of_function, expected) in [
        (json!({ "multiValueHeaders": { "test-multi": ["value1", "value2"] } }), ["value1", "value2"]),
        (
            json!({ "multiValueHeaders": { "test-multi": ["value-multi"] }, "headers": { "test-multi": "value-solo" } }),
            ["value-multi", "value-solo"],
        ),
        (
            json!({ "multiValueHeaders": { "tesT-Multi": ["value-multi"] }, "headers": { "test-multi": "value-solo" } }),
            ["value-multi", "value-solo"],
        ),
    ] {
        let mut of_function = of_function;
        of_function["statusCode"] = json!(200);
        let response = answer(&of_function).await;
        let lines: Vec<_> = response.headers().get_all("test-multi").iter().collect();
        assert_eq!(lines, expected, "{of_function}");
    }
}

#[tokio::test]
async fn a_path_and_a_method_without_integration_are_a_403() {
    let address = serve(api(vec![proxy("GET", "/exists", "f")], Vec::new()), |_, _| succeeds("{}")).await;
    let wrong_method = Client::new().delete(format!("http://{address}/dev/exists")).send().await.unwrap();
    for response in [get(address, "/dev/random").await, wrong_method] {
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(header(&response, "x-amzn-errortype"), Some("MissingAuthenticationTokenException"));
        assert_eq!(response.text().await.unwrap(), r#"{"message":"Missing Authentication Token"}"#);
    }
}

#[tokio::test]
async fn every_response_has_ids_and_only_those_of_functions_a_trace_id() {
    let mock = Method {
        integration: Integration::Mock {
            request_templates: strings(&[("application/json", r#"{"statusCode": 200}"#)]),
            responses: vec![MockResponse { status_code: 200, headers: BTreeMap::new(), templates: BTreeMap::new() }],
        },
        ..proxy("GET", "/mock", "")
    };
    let methods = vec![mock, proxy("GET", "/function", "f"), proxy("GET", "/fails", "fails")];
    let address = serve(api(methods, Vec::new()), |function, _| match function {
        "f" => succeeds(r#"{"statusCode":200}"#),
        _ => fails(),
    })
    .await;
    for (path, has_trace_id) in [("/mock", false), ("/function", true), ("/fails", false), ("/nowhere", false)] {
        let response = get(address, path).await;
        assert!(header(&response, "x-amzn-requestid").is_some(), "{path}");
        assert!(header(&response, "x-amz-apigw-id").is_some(), "{path}");
        assert_eq!(header(&response, "x-amzn-trace-id").is_some(), has_trace_id, "{path}");
    }
    let root = "1-5759e988-bd862e3fe1be46a994272793";
    let request = Client::new().get(format!("http://{address}/function"));
    let traced = request.header("x-amzn-trace-id", format!("Root={root}")).send().await.unwrap();
    assert!(header(&traced, "x-amzn-trace-id").unwrap().contains(root));
}
