//! `$context`: API Gateway's variables of one request, for functions and for templates.
//!
//! Names and meanings are those of "Variables for data transformations for API Gateway".

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, request::Parts};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{identifiers, wire};

/// `requestContext.deploymentId`. A local run has one deployment.
const DEPLOYMENT_ID: &str = "local";

/// Variables of one request.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) now: Timestamp,
    pub(super) request_id: String,
    pub(super) extended_request_id: String,
    pub(super) account_id: String,
    pub(super) api_id: String,
    pub(super) stage: String,
    pub(super) domain_name: String,
    pub(super) http_method: String,
    /// Path after the stage, as the client sent it, without slashes before its first segment.
    pub(super) path: String,
    /// Path as the client sent it, with the stage if the client named it.
    pub(super) sent_path: String,
    pub(super) protocol: String,
    pub(super) source_ip: String,
    pub(super) user_agent: Option<String>,
    /// Set after the method has been found.
    pub(super) resource_id: String,
    /// Set after the method has been found.
    pub(super) resource_path: String,
}

/// Error, for `$context.error`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorContext<'a> {
    pub(super) message: &'a str,
    pub(super) response_type: &'a str,
}

impl Context {
    /// Creates the context of a request. `paths` are that after the stage, and that as sent.
    pub(super) fn new(parts: &Parts, paths: (&str, &str), api: (&str, &str), region: &str, account_id: &str) -> Self {
        let (path, sent_path) = paths;
        let (api_id, stage) = api;
        Self {
            now: Timestamp::now(),
            request_id: identifiers::request_id(),
            extended_request_id: identifiers::extended_request_id(),
            account_id: account_id.to_owned(),
            api_id: api_id.to_owned(),
            stage: stage.to_owned(),
            domain_name: format!("{api_id}.execute-api.{region}.amazonaws.com"),
            http_method: parts.method.to_string(),
            path: path.to_owned(),
            sent_path: sent_path.to_owned(),
            protocol: format!("{:?}", parts.version),
            source_ip: wire::source_ip(parts).to_string(),
            user_agent: wire::user_agent(&parts.headers),
            resource_id: String::new(),
            resource_path: String::new(),
        }
    }

    /// Returns the `requestContext` of a proxy event.
    pub(super) fn request_context(&self) -> Value {
        json!({
            "accountId": self.account_id,
            "apiId": self.api_id,
            "deploymentId": DEPLOYMENT_ID,
            "domainName": self.domain_name,
            "domainPrefix": self.api_id,
            "extendedRequestId": self.extended_request_id,
            "httpMethod": self.http_method,
            "identity": {
                "accessKey": null,
                "accountId": null,
                "caller": null,
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": self.source_ip,
                "user": null,
                "userAgent": self.user_agent,
                "userArn": null,
            },
            "path": self.sent_path,
            "protocol": self.protocol,
            "requestId": self.request_id,
            "requestTime": identifiers::request_time(self.now),
            "requestTimeEpoch": self.now.as_millisecond(),
            "resourceId": self.resource_id,
            "resourcePath": self.resource_path,
            "stage": self.stage,
        })
    }

    /// Replaces the `$context` variables in `template`. Values are escaped for a JSON string. A variable without a
    /// value becomes empty, as on AWS.
    pub(super) fn fill(&self, template: &str, error: Option<ErrorContext<'_>>) -> String {
        let mut variables = BTreeMap::from([
            ("accountId", self.account_id.clone()),
            ("apiId", self.api_id.clone()),
            ("domainName", self.domain_name.clone()),
            ("domainPrefix", self.api_id.clone()),
            ("extendedRequestId", self.extended_request_id.clone()),
            ("httpMethod", self.http_method.clone()),
            ("identity.sourceIp", self.source_ip.clone()),
            ("identity.userAgent", self.user_agent.clone().unwrap_or_default()),
            ("path", self.sent_path.clone()),
            ("protocol", self.protocol.clone()),
            ("requestId", self.request_id.clone()),
            ("requestTime", identifiers::request_time(self.now)),
            ("requestTimeEpoch", self.now.as_millisecond().to_string()),
            ("resourceId", self.resource_id.clone()),
            ("resourcePath", self.resource_path.clone()),
            ("stage", self.stage.clone()),
        ]);
        if let Some(error) = error {
            variables.insert("error.message", error.message.to_owned());
            variables.insert("error.responseType", error.response_type.to_owned());
        }
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(start) = rest.find('$') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let Some((name, length)) = variable(rest) else {
                filled.push('$');
                rest = &rest[1..];
                continue;
            };
            if name == "error.messageString" {
                // Only this variable includes its quotes.
                filled.push_str(&Value::from(error.map_or("", |error| error.message)).to_string());
            } else if let Some(value) = variables.get(name) {
                let quoted = Value::from(value.as_str()).to_string();
                filled.push_str(&quoted[1..quoted.len() - 1]);
            }
            rest = &rest[length..];
        }
        filled.push_str(rest);
        filled
    }

    /// Adds the headers of every response of a REST API.
    pub(super) fn sign(&self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        for (name, id) in [("x-amzn-requestid", &self.request_id), ("x-amz-apigw-id", &self.extended_request_id)] {
            if let Ok(value) = HeaderValue::from_str(id) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Returns the name of the variable at the start of `text` (`$context.a.b` or `${context.a.b}`) without `context.`, and
/// the length of the variable.
fn variable(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix("${context.") {
        let end = inner.find('}')?;
        return Some((&inner[..end], "${context.".len() + end + 1));
    }
    let name = text.strip_prefix("$context.")?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(name.len());
    // A full stop at the end of a sentence does not belong to the name.
    let name = name[..end].trim_end_matches('.');
    Some((name, "$context.".len() + name.len()))
}

/// Returns a response with a body. Omits a status, header name or value that is invalid in HTTP.
pub(super) fn answer<'a>(
    status: StatusCode,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns the template for a client that accepts `accept`: one of an accepted type, else `application/json`, else the
/// first ("Gateway responses" and "Mapping templates").
pub(super) fn choose_template<'a>(
    templates: &'a BTreeMap<String, String>,
    accept: Option<&str>,
) -> Option<(&'a str, &'a str)> {
    accept
        .unwrap_or_default()
        .split(',')
        .find_map(|kind| templates.get_key_value(kind.split(';').next()?.trim()))
        .or_else(|| templates.get_key_value("application/json"))
        .or_else(|| templates.first_key_value())
        .map(|(kind, template)| (kind.as_str(), template.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let (parts, ()) = http::Request::get("/x\"y").header("user-agent", "a\"b").body(()).map_or_else(
            |_| http::Request::get("/x").header("user-agent", "a\"b").body(()).unwrap().into_parts(),
            http::Request::into_parts,
        );
        Context::new(&parts, ("/x", "/dev/x"), ("api", "dev"), "eu-west-1", "123456789012")
    }

    #[test]
    fn variables_are_filled_in_and_safe_inside_json() {
        let context = context();
        let error = ErrorContext { message: "a \"quoted\"\nmessage", response_type: "DEFAULT_4XX" };
        let filled = context.fill(
            r#"{"a":"$context.requestId.","b":"${context.stage}x","c":$context.error.messageString,"d":"$context.error.message","e":"$context.error.responseType","f":"$context.nothing","g":"$5","h":"$context.identity.userAgent"}"#,
            Some(error),
        );
        let value: Value = serde_json::from_str(&filled).unwrap_or_else(|error| panic!("{error}: {filled}"));
        assert_eq!(
            value,
            json!({
                "a": format!("{}.", context.request_id), "b": "devx", "c": error.message, "d": error.message,
                "e": "DEFAULT_4XX", "f": "", "g": "$5", "h": "a\"b",
            })
        );
    }

    #[test]
    fn the_accepted_template_is_chosen_before_json_before_the_first() {
        let templates = BTreeMap::from(["text/xml", "application/json"].map(|kind| (kind.to_owned(), kind.to_owned())));
        for (accept, expected) in [
            (None, "application/json"),
            (Some("text/html, text/xml;q=0.9"), "text/xml"),
            (Some("*/*"), "application/json"),
        ] {
            assert_eq!(choose_template(&templates, accept).unwrap().0, expected, "{accept:?}");
        }
        let one = BTreeMap::from([("text/plain".to_owned(), String::new())]);
        assert_eq!(choose_template(&one, None).unwrap().0, "text/plain");
    }
}
