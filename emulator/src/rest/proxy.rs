//! Lambda proxy integrations: "Lambda proxy integrations in API Gateway", formats 1.0 of event and response.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{context::Context, wire};

/// Returns the event of a request.
///
/// The API has no binary media types, so the body is always text and never base64.
pub(super) fn event(parts: &Parts, body: &Bytes, parameters: &BTreeMap<String, String>, context: &Context) -> Value {
    let (headers, multi_value_headers) =
        wire::single_and_multi(wire::event_headers(parts, &context.domain_name, context.now));
    let (query, multi_value_query) = wire::single_and_multi(wire::query_parameters(parts.uri.query()));
    json!({
        "resource": context.resource_path,
        "path": context.path,
        "httpMethod": context.http_method,
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "queryStringParameters": wire::null_when_empty(query),
        "multiValueQueryStringParameters": wire::null_when_empty(multi_value_query),
        "pathParameters": wire::null_when_empty(json!(parameters)),
        "stageVariables": null,
        "requestContext": context.request_context(),
        "body": if body.is_empty() { Value::Null } else { String::from_utf8_lossy(body).into() },
        "isBase64Encoded": false,
    })
}

/// Response of a function. Recorded at AWS: an unknown field is an error, and a response without a status has 200.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProxyResponse {
    #[serde(default)]
    status_code: Option<Value>,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<Value>>>,
    #[serde(default)]
    body: Option<String>,
    // Without binary media types, API Gateway forwards base64 unchanged. The value has no effect, but its type is
    // checked.
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

impl ProxyResponse {
    /// Returns whether the object has no field with a value. Recorded at AWS: such a response is an error.
    fn is_empty(&self) -> bool {
        self.status_code.is_none()
            && self.headers.is_none()
            && self.multi_value_headers.is_none()
            && self.body.is_none()
            && self.is_base64_encoded.is_none()
    }
}

/// Converts the response of a function. Returns `None` if it is not a proxy response (API Gateway's "Malformed Lambda
/// proxy response").
pub(super) fn response(answer: &[u8]) -> Option<Response<Body>> {
    let answer: ProxyResponse =
        serde_json::from_slice(answer).ok().filter(|answer: &ProxyResponse| !answer.is_empty())?;
    let status = answer.status_code.as_ref().map_or(Some(StatusCode::OK), status)?;
    let headers = merge(answer.headers.unwrap_or_default(), answer.multi_value_headers.unwrap_or_default())?;
    let mut response = Response::new(Body::from(answer.body.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    Some(response)
}

/// Adds the trace id of the event. Recorded at AWS: responses of functions have it, those of mocks and of the gateway
/// do not.
pub(super) fn traced(mut response: Response<Body>, event: &Value) -> Response<Body> {
    let trace_id = event["headers"][wire::TRACE_ID].as_str().unwrap_or_default();
    if let Ok(trace_id) = HeaderValue::from_str(trace_id) {
        response.headers_mut().entry("x-amzn-trace-id").or_insert(trace_id);
    }
    response
}

/// Returns a final status from a number or its digits.
pub(crate) fn status(value: &Value) -> Option<StatusCode> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(digits) => digits.parse().ok()?,
        _ => return None,
    };
    StatusCode::from_u16(u16::try_from(number).ok()?).ok().filter(|status| (200..600).contains(&status.as_u16()))
}

/// Merges both kinds of headers into one list. For a name in both, the values of `multi_value_headers` come first, and
/// a value in both occurs once.
fn merge(single: BTreeMap<String, Value>, multi: BTreeMap<String, Vec<Value>>) -> Option<HeaderMap> {
    let multi = multi.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
    let mut headers = HeaderMap::new();
    for (name, value) in multi {
        append(&mut headers, &name, &value)?;
    }
    let repeated = headers.clone();
    for (name, value) in single {
        let known = text(&value).is_some_and(|text| {
            HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| {
                repeated.get_all(remapped(name)).iter().any(|known| known.as_bytes() == text.as_bytes())
            })
        });
        if !known {
            append(&mut headers, &name, &value)?;
        }
    }
    Some(headers)
}

fn append(headers: &mut HeaderMap, name: &str, value: &Value) -> Option<()> {
    if value.is_null() {
        return Some(());
    }
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(text(value)?.as_bytes()).ok()?;
    // The gateway sets the framing of the message itself.
    if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
        headers.append(remapped(name), value);
    }
    Some(())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns the new name of a header that the gateway renames in responses ("Amazon API Gateway important notes").
fn remapped(name: HeaderName) -> HeaderName {
    const REMAPPED: [HeaderName; 10] = [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::DATE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SERVER,
        header::UPGRADE,
        header::USER_AGENT,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ];
    if !REMAPPED.contains(&name) {
        return name;
    }
    HeaderName::try_from(format!("x-amzn-remapped-{name}")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_answers_are_told_from_good_ones() {
        for good in [
            r#"{"statusCode":200}"#,
            r#"{"headers":{"a":"b"}}"#,
            r#"{"statusCode":"404","body":null,"headers":null,"multiValueHeaders":null}"#,
            r#"{"statusCode":200,"headers":{"a":1,"b":true,"c":null},"isBase64Encoded":false}"#,
        ] {
            assert!(response(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            "null",
            "\"text\"",
            "[]",
            "{}",
            r#"{"statusCode":200,"wrongValue":"value"}"#,
            r#"{"statusCode":"ok"}"#,
            r#"{"statusCode":101}"#,
            r#"{"statusCode":200.5}"#,
            r#"{"statusCode":99999}"#,
            r#"{"statusCode":200,"body":{"a":1}}"#,
            r#"{"statusCode":200,"headers":{"a":["b"]}}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":"b\nc"}}"#,
            r#"{"statusCode":200,"multiValueHeaders":{"a":"b"}}"#,
        ] {
            assert!(response(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn both_kinds_of_headers_are_merged() {
        let answer = br#"{"statusCode":200,"headers":{"a":"1","b":"2","Content-Length":"7","WWW-Authenticate":"Bearer"},"multiValueHeaders":{"A":["1","3"]}}"#;
        let response = response(answer).unwrap();
        let all = |name: &str| response.headers().get_all(name).iter().map(wire::lossy).collect::<Vec<_>>();
        assert_eq!((all("a"), all("b")), (vec!["1".to_owned(), "3".to_owned()], vec!["2".to_owned()]));
        assert_eq!(all("x-amzn-remapped-www-authenticate"), ["Bearer"]);
        assert!(all("www-authenticate").is_empty() && all("content-length").is_empty());
        assert_eq!(all("content-type"), ["application/json"]);
    }
}
