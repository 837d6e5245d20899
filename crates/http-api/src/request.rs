//! Requests of the REST functions.

use std::{
    borrow::Cow,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use auth::Verifier;
use chat::model::{
    id::{IdError, IdempotencyKey, UserId},
    limits::IDEMPOTENCY_KEY_CHARS,
    seq::Seq,
    token_bucket::Quota,
    validation::Violation,
};
use http::{Method, Response, header};
use lambda_http::{Body, Request, RequestExt, request::RequestContext};
use percent_encoding::percent_decode_str;

use crate::{
    body::Fields,
    conditions::Conditions,
    headers, location, media_type,
    problem::Problem,
    routes::{self, Route},
};

/// A request of API Gateway, with access to its parts.
#[derive(Debug)]
pub struct ApiRequest {
    inner: Request,
    /// State of the bucket that the request took a token from, if it is known.
    quota: Arc<OnceLock<Quota>>,
}

impl ApiRequest {
    /// Wraps an API Gateway request.
    #[must_use]
    pub fn new(inner: Request) -> Self {
        Self { inner, quota: Arc::default() }
    }

    /// Returns the HTTP method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.inner.method()
    }

    /// Returns the resource that API Gateway matched, such as `/channels/{channel_id}`.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.inner.request_context_ref() {
            Some(RequestContext::ApiGatewayV1(context)) => context.resource_path.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// The route of the request, if this API has one for its method and resource.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        Route::of(self.method(), &self.resource())
    }

    /// Returns the problem for a request that the template routes to a function that does not serve it.
    #[must_use]
    pub fn misrouted(&self) -> Problem {
        routes::misrouted(self.method(), &self.resource())
    }

    /// Returns API Gateway's request id.
    #[must_use]
    pub fn request_id(&self) -> String {
        match self.inner.request_context_ref() {
            Some(RequestContext::ApiGatewayV1(context)) => context.request_id.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Notes the state of the bucket that the request took a token from. The response has it in its headers.
    pub fn took_token(&self, quota: Quota) {
        // A request takes one token that its caller can count.
        let _ = self.quota.set(quota);
    }

    /// Returns the place of the bucket's state, which outlives the request.
    pub(crate) fn quota(&self) -> Arc<OnceLock<Quota>> {
        Arc::clone(&self.quota)
    }

    /// Requires that each header with one value stands at most once.
    ///
    /// # Errors
    /// Fails with a 400 problem.
    pub(crate) fn require_clear_headers(&self) -> Result<(), Problem> {
        headers::require_once(self.inner.headers())
    }

    /// Returns a header with one value. Returns `None` if there are several lines, or if it is not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::only(self.inner.headers(), name)
    }

    /// Returns a header with a list: all its lines, separated by commas. Returns `None` if it is not ASCII.
    #[must_use]
    pub fn header_list(&self, name: &str) -> Option<String> {
        String::from_utf8(headers::combined(self.inner.headers(), name)?.into_owned())
            .ok()
            .filter(|text| text.is_ascii())
    }

    /// Returns the conditions of the request.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions::of(self.inner.headers())
    }

    /// Returns the `Idempotency-Key`. Adds a violation if it is not valid.
    pub fn idempotency_key(&self, violations: &mut Vec<Violation>) -> Option<IdempotencyKey> {
        let value = self.inner.headers().get("idempotency-key")?;
        let key = value.to_str().ok().and_then(|text| text.parse().ok());
        if key.is_none() {
            let message = format!("must be 1 to {IDEMPOTENCY_KEY_CHARS} visible ASCII characters");
            violations.push(Violation::new("Idempotency-Key", "malformed", message));
        }
        key
    }

    /// Returns the token of `Authorization: Bearer <token>`, or an empty text.
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        let Some((scheme, token)) = self.header("authorization").and_then(|value| value.trim().split_once(' ')) else {
            return "";
        };
        if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" }
    }

    /// Returns a path parameter that is an id.
    ///
    /// # Errors
    /// Fails with a 400 problem.
    pub fn path_id<T: FromStr<Err = IdError>>(&self, name: &str) -> Result<T, Problem> {
        self.path_text(name)?.parse().map_err(|error| no_id(name, error))
    }

    /// Returns the path parameter `user_id` of a new member. Refuses reserved names.
    ///
    /// # Errors
    /// Fails with a 400 problem.
    pub fn path_new_member(&self, verifier: &Verifier) -> Result<UserId, Problem> {
        let name = "user_id";
        verifier.user(&self.path_text(name)?).map_err(|error| no_id(name, error))
    }

    /// Returns the path parameter `seq`.
    ///
    /// # Errors
    /// Fails with a 400 problem.
    pub fn path_seq(&self) -> Result<Seq, Problem> {
        let text = self.path_text("seq")?;
        let seq = text.parse().ok().filter(|seq| (Seq::FIRST..=Seq::LARGEST).contains(seq));
        seq.ok_or_else(|| {
            Problem::invalid(vec![Violation::new("seq", "malformed", "must be the number of a message, 1 or more")])
        })
    }

    /// Returns a path parameter, decoded once, or an empty text if the route has none of that name.
    ///
    /// API Gateway passes path parameters of a REST API with Lambda proxy integration percent-encoded, but query
    /// parameters decoded (recorded at AWS: `"proxy": "test%2Balias"`). A parameter that was encoded twice remains
    /// encoded here and is not a valid id: `%252e%252e` does not become `..`. A decoded `/` is part of the text and
    /// separates nothing, because API Gateway matched the route before.
    ///
    /// # Errors
    /// Fails with a 400 problem that names the parameter if the decoded bytes are not UTF-8.
    pub fn path_text(&self, name: &str) -> Result<String, Problem> {
        let parameters = self.inner.path_parameters();
        let raw = parameters.first(name).unwrap_or_default();
        percent_decode_str(raw)
            .decode_utf8()
            .map(Cow::into_owned)
            .map_err(|_| Problem::malformed(vec![Violation::new(name, "malformed", "must be percent-encoded UTF-8")]))
    }

    /// Sets `Location` of a response to the address of `segment` below the address of the request.
    pub fn locate(&self, response: &mut Response<Body>, segment: &str) {
        if let Some(location) = location::below(&self.inner, segment) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }

    /// Returns an optional query parameter. Adds a violation if it is repeated or invalid.
    pub fn query<T: FromStr>(&self, name: &str, expected: &str, violations: &mut Vec<Violation>) -> Option<T> {
        let parameters = self.inner.query_string_parameters();
        let values = parameters.all(name).unwrap_or_default();
        let read = match values.as_slice() {
            [] => return None,
            [one] => one.parse().ok(),
            _ => None,
        };
        if read.is_none() {
            violations.push(Violation::new(name, "malformed", format!("must be {expected}, once")));
        }
        read
    }

    /// Returns whether a query parameter is given.
    pub(crate) fn has_query(&self, name: &str) -> bool {
        self.inner.query_string_parameters().first(name).is_some()
    }

    /// Adds a violation for each query parameter that is not in `known`.
    pub fn reject_unknown_query_parameters(&self, known: &[&str], violations: &mut Vec<Violation>) {
        let parameters = self.inner.query_string_parameters();
        let mut unknown: Vec<&str> =
            parameters.iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for name in unknown {
            let short: String = name.chars().take(64).collect();
            violations.push(Violation::new(short, "unknown_parameter", "is not a parameter of this request"));
        }
    }

    /// Returns whether the body is empty.
    #[must_use]
    pub fn has_no_body(&self) -> bool {
        self.inner.body().is_empty()
    }

    /// Requires that the body, if there is one, is a JSON object without fields.
    ///
    /// # Errors
    /// Those of [`ApiRequest::fields`], and a 400 problem that lists the fields.
    pub fn require_no_fields(&self) -> Result<(), Problem> {
        if self.has_no_body() { Ok(()) } else { Problem::require_valid(self.fields()?.finish()) }
    }

    /// Returns the fields of the JSON body.
    ///
    /// # Errors
    /// Fails with a 415, 413 or 400 problem.
    pub fn fields(&self) -> Result<Fields, Problem> {
        media_type::require_json(self.inner.headers())?;
        Fields::parse(self.inner.body())
    }
}

/// Returns the problem of a field with an invalid id.
fn no_id(name: &str, error: IdError) -> Problem {
    Problem::invalid(vec![Violation::new(name, error.code(), error.to_string())])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use auth::{Issuer, Secret};
    use chat::model::id::{ChannelId, ConnectionId};
    use lambda_http::request::LambdaRequest;
    use serde_json::{Value, json};

    use super::*;

    /// Returns a request as API Gateway passes it.
    fn with_parameter(name: &str, raw: &str) -> ApiRequest {
        let parameters = HashMap::from([(name.to_owned(), vec![raw.to_owned()])]);
        ApiRequest::new(Request::default().with_path_parameters(parameters))
    }

    /// Returns the request of an event in the form that was recorded at AWS.
    fn of_event(resource: &str, path: &str, sent_path: &str, parameters: &Value) -> ApiRequest {
        let event = json!({
            "resource": resource,
            "path": path,
            "httpMethod": "POST",
            "headers": {"Host": "api123.execute-api.eu-west-1.amazonaws.com"},
            "multiValueHeaders": {"Host": ["api123.execute-api.eu-west-1.amazonaws.com"]},
            "queryStringParameters": null,
            "multiValueQueryStringParameters": null,
            "pathParameters": parameters,
            "stageVariables": null,
            "requestContext": {
                "stage": "stage",
                "path": sent_path,
                "resourcePath": resource,
                "httpMethod": "POST",
                "identity": {"sourceIp": "203.0.113.9"},
                "domainName": "api123.execute-api.eu-west-1.amazonaws.com",
            },
            "body": null,
            "isBase64Encoded": false,
        });
        let event: LambdaRequest = serde_json::from_str(&event.to_string()).unwrap();
        ApiRequest::new(event.into())
    }

    fn verifier() -> Verifier {
        let secret = Some(Secret::new("a secret of a test, of thirty-two bytes or more"));
        Verifier::new(vec![Issuer { issuer: "i".into(), audience: "a".into(), secret, ..Issuer::default() }]).unwrap()
    }

    #[test]
    fn a_path_parameter_is_decoded_once() {
        for (raw, meant) in [("team:1", "team:1"), ("team%3A1", "team:1"), ("team%3a1", "team:1"), ("%61", "a")] {
            let id: ChannelId = with_parameter("channel_id", raw).path_id("channel_id").unwrap();
            assert_eq!(id.as_str(), meant, "{raw}");
        }
        let id: ConnectionId = with_parameter("connection_id", "L0%3D").path_id("connection_id").unwrap();
        assert_eq!(id.as_str(), "L0=");
        for raw in ["%2561", "team%253A1", "%", "%zz", "%ff", "a%2Fb", "a%00", ""] {
            let refused = with_parameter("channel_id", raw).path_id::<ChannelId>("channel_id").unwrap_err();
            assert_eq!((refused.status, refused.errors[0].code), (400, "malformed"), "{raw}");
        }
    }

    /// Recorded at AWS (`test_lambda_aws_proxy_integration`): `path`, `pathParameters` and `requestContext.path` are as
    /// the client sent them, and only `resource` is not.
    #[test]
    fn the_parameters_of_an_event_are_decoded_once() {
        let renewal = of_event(
            "/connections/{connection_id}/token",
            "/connections/L0SM9cOFvHcCIhw%3D/token",
            "/stage/connections/L0SM9cOFvHcCIhw%3D/token",
            &json!({"connection_id": "L0SM9cOFvHcCIhw%3D"}),
        );
        assert_eq!(renewal.path_id::<ConnectionId>("connection_id").unwrap().as_str(), "L0SM9cOFvHcCIhw=");
        let reaction = of_event(
            "/channels/{channel_id}/messages/{seq}/reactions/{emoji}",
            "/channels/team%3A1/messages/%37/reactions/%F0%9F%91%8D",
            "/stage/channels/team%3A1/messages/%37/reactions/%F0%9F%91%8D",
            &json!({"channel_id": "team%3A1", "seq": "%37", "emoji": "%F0%9F%91%8D"}),
        );
        assert_eq!(reaction.path_id::<ChannelId>("channel_id").unwrap().as_str(), "team:1");
        assert_eq!(reaction.path_seq().unwrap(), Seq::new(7));
        assert_eq!(reaction.path_text("emoji").unwrap(), "\u{1f44d}");
        // The id of the subject `alice@example.com`: its `=` is encoded by some clients and not by others.
        for raw in ["alice=40example.com", "alice%3D40example.com", "alice%3d40example.com"] {
            let member = with_parameter("user_id", raw);
            assert_eq!(member.path_id::<UserId>("user_id").unwrap().as_str(), "alice=40example.com", "{raw}");
        }
    }

    #[test]
    fn a_parameter_is_utf_8_and_a_slash_in_it_is_data() {
        for raw in ["%ff", "a%C3", "%ED%A0%80", "%F0%9F%91"] {
            let refused = with_parameter("emoji", raw).path_text("emoji").unwrap_err();
            let violation = &refused.errors[0];
            assert_eq!(
                (refused.status, violation.field.as_str(), violation.code),
                (400, "emoji", "malformed"),
                "{raw}"
            );
        }
        for (raw, text) in
            [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("+", "+"), ("%2B", "+"), ("%", "%"), ("%zz", "%zz")]
        {
            assert_eq!(with_parameter("emoji", raw).path_text("emoji").unwrap(), text);
        }
        assert_eq!(with_parameter("emoji", "x").path_text("absent").unwrap(), "");
    }

    #[test]
    fn a_message_has_one_path() {
        for (raw, number) in [("1", 1), ("10", 10), ("9007199254740991", 9_007_199_254_740_991), ("%37", 7)] {
            assert_eq!(with_parameter("seq", raw).path_seq().unwrap(), Seq::new(number), "{raw}");
        }
        for raw in ["+1", "%2B1", "01", "-1", "0", "00", "", "%201", "1.0", "one", "9007199254740992"] {
            let refused = with_parameter("seq", raw).path_seq().unwrap_err();
            let violation = &refused.errors[0];
            assert_eq!((refused.status, violation.field.as_str(), violation.code), (400, "seq", "malformed"), "{raw}");
        }
    }

    #[test]
    fn no_spelling_of_a_dot_segment_is_an_id() {
        for raw in [".", "..", "%2e", "%2E", "%2e%2e", ".%2E", "%2e.", "%252e", "%252e%252e", "%25252e"] {
            let request = with_parameter("user_id", raw);
            let refused = request.path_id::<UserId>("user_id").unwrap_err();
            assert_eq!((refused.status, refused.errors[0].field.as_str()), (400, "user_id"), "{raw}");
            assert_eq!(request.path_new_member(&verifier()).unwrap_err().status, 400, "{raw}");
        }
        for kept in ["...", ".a", "a..", "%2e%2e%2e"] {
            assert!(with_parameter("user_id", kept).path_id::<UserId>("user_id").is_ok(), "{kept}");
        }
    }

    #[test]
    fn a_name_of_the_system_becomes_no_member_and_can_be_removed() {
        for name in ["agent", "system", "Agent", "%61gent"] {
            let request = with_parameter("user_id", name);
            let refused = request.path_new_member(&verifier()).unwrap_err();
            assert_eq!((refused.status, refused.errors[0].code), (400, "reserved"), "{name}");
            assert!(request.path_id::<UserId>("user_id").is_ok(), "an earlier membership can be ended");
        }
        assert!(with_parameter("user_id", "alice").path_new_member(&verifier()).is_ok());
    }
}
