//! `$context` variables of mapping templates ("Variables for data transformations for API Gateway").

use std::net::SocketAddr;

use axum::extract::Request;
use jiff::Timestamp;

/// What is known of a request.
pub(super) struct Context {
    pub(super) request_id: String,
    pub(super) extended_request_id: String,
    pub(super) trace_id: String,
    pub(super) received_at: Timestamp,
    pub(super) source_ip: String,
    pub(super) http_method: String,
    pub(super) path: String,
    pub(super) resource_path: String,
}

impl Context {
    pub(super) fn new(request: &Request, peer: Option<SocketAddr>) -> Self {
        let (bits, trace): (u128, u128) = (rand::random(), rand::random());
        let hex = format!("{bits:032x}");
        let received_at = Timestamp::now();
        let given = request.headers().get("x-amzn-trace-id").and_then(|value| value.to_str().ok());
        Self {
            request_id: format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]),
            extended_request_id: format!("{}=", &hex[..15]),
            trace_id: given
                .map_or_else(|| format!("Root=1-{:08x}-{:024x}", received_at.as_second(), trace >> 32), str::to_owned),
            received_at,
            source_ip: peer.map_or_else(|| "127.0.0.1".to_owned(), |peer| peer.ip().to_string()),
            http_method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            resource_path: String::new(),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "requestId" => self.request_id.clone(),
            "extendedRequestId" => self.extended_request_id.clone(),
            "httpMethod" => self.http_method.clone(),
            "path" => self.path.clone(),
            "resourcePath" => self.resource_path.clone(),
            "identity.sourceIp" => self.source_ip.clone(),
            "requestTimeEpoch" => self.received_at.as_millisecond().to_string(),
            _ => return None,
        })
    }
}

/// What is known of an error that the gateway answers itself.
pub(super) struct ErrorContext<'a> {
    pub(super) message: &'a str,
    pub(super) response_type: &'a str,
}

/// Fills a template in. Values are escaped for the JSON string in which they stand; `messageString` brings its own
/// quotes, as API Gateway's does.
pub(super) fn fill(template: &str, context: &Context, error: Option<&ErrorContext<'_>>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("$context.") {
        filled.push_str(&rest[..start]);
        let after = &rest[start + "$context.".len()..];
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(after.len());
        let name = after[..end].trim_end_matches('.');
        rest = &after[name.len()..];
        match (name, error) {
            ("error.message", Some(error)) => filled.push_str(&escaped(error.message)),
            ("error.messageString", Some(error)) => {
                filled.push('"');
                filled.push_str(&escaped(error.message));
                filled.push('"');
            }
            ("error.responseType", Some(error)) => filled.push_str(error.response_type),
            _ => filled.push_str(&escaped(&context.value(name).unwrap_or_default())),
        }
    }
    filled.push_str(rest);
    filled
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_escaped() {
        let request = Request::builder().method("GET").uri("/a\"b").body(axum::body::Body::empty());
        let mut context = Context::new(&request.unwrap_or_default(), None);
        context.request_id = "id-1".into();
        let error = ErrorContext { message: "say \"no\"", response_type: "ACCESS_DENIED" };
        let template = r#"{"a":"$context.requestId.","b":$context.error.messageString,"c":"$context.error.message","d":"$context.unknown"}"#;
        let expected = r#"{"a":"id-1.","b":"say \"no\"","c":"say \"no\"","d":""}"#;
        assert_eq!(fill(template, &context, Some(&error)), expected);
    }
}
