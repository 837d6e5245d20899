//! The event of a proxy integration, and its answer ("Lambda proxy integrations in API Gateway").

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde_json::{Map, Value, json};

use super::{Inner, routing::Matched, variables::Context};

type Values = BTreeMap<String, Vec<String>>;

/// The event for a function. Empty maps and an absent body are `null`, as API Gateway sends them.
pub(super) fn request(inner: &Inner, route: &Matched<'_>, parts: &Parts, body: &[u8], context: &Context) -> Value {
    let headers = headers(parts, context);
    let query = query(parts);
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let (body, is_base64) = match std::str::from_utf8(body) {
        Ok("") => (Value::Null, false),
        Ok(text) => (text.into(), false),
        Err(_) => (STANDARD.encode(body).into(), true),
    };
    json!({
        "resource": route.method.path,
        "path": route.path,
        "httpMethod": context.http_method,
        "headers": last_values(&headers),
        "multiValueHeaders": non_empty(&headers),
        "queryStringParameters": last_values(&query),
        "multiValueQueryStringParameters": non_empty(&query),
        "pathParameters": if route.path_parameters.is_empty() { Value::Null } else { json!(route.path_parameters) },
        "stageVariables": null,
        "requestContext": {
            "accountId": inner.account_id,
            "apiId": inner.api.id,
            "domainName": inner.domain_name,
            "domainPrefix": inner.api.id,
            "extendedRequestId": context.extended_request_id,
            "httpMethod": context.http_method,
            "identity": {
                "accessKey": null,
                "accountId": null,
                "caller": null,
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": context.source_ip,
                "user": null,
                "userAgent": header("user-agent"),
                "userArn": null,
            },
            "path": format!("/{}{}", inner.api.stage, route.path),
            "protocol": "HTTP/1.1",
            "requestId": context.request_id,
            "requestTime": context.received_at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "requestTimeEpoch": context.received_at.as_millisecond(),
            "resourceId": route.method.resource_id,
            "resourcePath": route.method.path,
            "stage": inner.api.stage,
        },
        "body": body,
        "isBase64Encoded": is_base64,
    })
}

fn headers(parts: &Parts, context: &Context) -> Values {
    let mut headers = Values::new();
    for (name, value) in &parts.headers {
        if name != header::CONNECTION && name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.as_str().to_owned()).or_default().push(value);
        }
    }
    for (name, value) in [
        ("x-amzn-trace-id", context.trace_id.as_str()),
        ("x-forwarded-for", context.source_ip.as_str()),
        ("x-forwarded-port", "80"),
        ("x-forwarded-proto", "http"),
    ] {
        headers.insert(name.to_owned(), vec![value.to_owned()]);
    }
    headers
}

fn query(parts: &Parts) -> Values {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let mut query = Values::new();
    for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        query.entry(decode(name)).or_default().push(decode(value));
    }
    query
}

fn non_empty(values: &Values) -> Value {
    if values.is_empty() { Value::Null } else { json!(values) }
}

fn last_values(values: &Values) -> Value {
    if values.is_empty() {
        return Value::Null;
    }
    values.iter().filter_map(|(name, values)| Some((name.clone(), Value::from(values.last()?.clone())))).collect()
}

/// The HTTP response that a function's answer describes.
pub(super) fn response(answer: &[u8]) -> Result<Response, &'static str> {
    let answer: Map<String, Value> = serde_json::from_slice(answer).map_err(|_| "not a JSON object")?;
    let code = match answer.get("statusCode") {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let status = code
        .and_then(|code| u16::try_from(code).ok())
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("statusCode is missing or is none")?;
    let text = match answer.get("body") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err("body is no string"),
    };
    let is_base64 = answer.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or_default();
    let body = if is_base64 {
        Body::from(STANDARD.decode(text).map_err(|_| "body is no base64")?)
    } else {
        Body::from(text.to_owned())
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in entries(&answer, "headers") {
        let value = scalar(value).ok_or("a header is no text")?;
        headers.insert(header_name(name)?, HeaderValue::try_from(value).map_err(|_| "a header value is malformed")?);
    }
    for (name, values) in entries(&answer, "multiValueHeaders") {
        let name = header_name(name)?;
        headers.remove(&name);
        for value in values.as_array().into_iter().flatten() {
            let value = scalar(value).ok_or("a header is no text")?;
            headers.append(&name, HeaderValue::try_from(value).map_err(|_| "a header value is malformed")?);
        }
    }
    Ok(response)
}

fn entries<'a>(answer: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    answer.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    HeaderName::try_from(name).map_err(|_| "a header name is malformed")
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}
