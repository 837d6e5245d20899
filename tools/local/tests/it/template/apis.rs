//! Both APIs of the real template.

use std::collections::{BTreeMap, BTreeSet};

use emulator::stack::Integration;
use http_api::{ProblemCode, rest::EXPOSED_HEADERS};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{backend, backend_stack};

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
            let known = http_api::routes::Route::of(&method.parse().unwrap(), resource);
            assert!(known.is_some(), "{method} {resource}");
        }
        let function = |wanted: &str| {
            let of_resource = || api.methods.iter().filter(|method| method.path == resource);
            let exact = of_resource().find(|method| method.http_method == wanted);
            match &exact.or_else(|| of_resource().find(|method| method.http_method == "ANY")).unwrap().integration {
                Integration::LambdaProxy { function, .. } => function.clone(),
                Integration::Mock { .. } => panic!("{resource} has a mock"),
            }
        };
        if methods.iter().any(|(method, _)| method.as_str() == "GET") {
            assert_eq!(function("HEAD"), function("GET"), "{resource}");
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
fn gateway_responses_are_problems_with_a_code() {
    let responses = backend_stack().rest_api.gateway_responses;
    assert!(responses.iter().any(|one| one.response_type == "DEFAULT_5XX"));
    for response in responses {
        let body: Value = serde_json::from_str(&response.templates["application/json"]).unwrap();
        let code = ProblemCode::ALL.iter().find(|code| body["code"] == code.as_str());
        let status = code.unwrap_or_else(|| panic!("{body} has another code")).status().as_u16();
        assert_eq!((body["status"].as_u64(), response.status_code), (Some(status.into()), Some(status)), "{body}");
        assert_eq!(response.headers.contains_key("Retry-After"), status == 429, "{body}");
        assert_eq!(response.headers["Access-Control-Expose-Headers"], EXPOSED_HEADERS);
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
fn frames_of_clients_have_a_function_and_throttles_of_their_own() {
    let stack = backend_stack();
    let fan_out = stack.functions.iter().find(|function| function.binary == "send-message").unwrap();
    let frames = stack.functions.iter().find(|function| function.binary == "answer-frame").unwrap();
    for route in &stack.websocket_api.routes {
        assert_ne!(route.function, fan_out.name, "no client invokes the fan-out function");
        let takes_frames = !["$connect", "$disconnect"].contains(&route.route_key.as_str());
        assert_eq!(route.function == frames.name, takes_frames, "{}", route.route_key);
        assert_eq!(route.throttle.is_some(), takes_frames, "{}", route.route_key);
    }
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

/// Returns JSON with sorted keys and no spaces, independent of the order of the map.
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
