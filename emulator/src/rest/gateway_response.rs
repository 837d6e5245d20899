//! Responses of the gateway itself: "Gateway response types for API Gateway".

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::Value;

use crate::stack::GatewayResponse;

use super::context::{Context, ErrorContext, answer, choose_template};

/// Failures of this gateway, with AWS's status and message for each.
///
/// AWS does not document the type of a failed function. `INTEGRATION_FAILURE` with 502 stands for a function that
/// failed, and `API_CONFIGURATION_ERROR` with 502 for one with an invalid response. Both statuses are documented under
/// "Handle Lambda errors in API Gateway".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request matches no resource or method.
    MissingAuthenticationToken,
    /// The payload exceeds 10 MB or the limit of Lambda.
    RequestTooLarge,
    /// A mock integration has no template for the content type.
    UnsupportedMediaType,
    /// The request is not valid HTTP.
    BadRequest,
    /// The account's rate is used up.
    Throttled,
    /// The function failed.
    FailedFunction,
    /// The response of the function is invalid.
    MalformedProxyResponse,
    /// The integration timed out.
    IntegrationTimeout,
    /// A mock integration names no status, or one without a response.
    ApiConfigurationError,
    /// The function could not be started.
    Internal,
}

impl Failure {
    /// Returns response type, default status, message and `x-amzn-ErrorType`.
    fn facts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        const ERROR: &str = "Internal server error";
        match self {
            Self::MissingAuthenticationToken => (
                "MISSING_AUTHENTICATION_TOKEN",
                StatusCode::FORBIDDEN,
                "Missing Authentication Token",
                "MissingAuthenticationTokenException",
            ),
            Self::RequestTooLarge => (
                "REQUEST_TOO_LARGE",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Too Long",
                "RequestEntityTooLargeException",
            ),
            Self::UnsupportedMediaType => (
                "UNSUPPORTED_MEDIA_TYPE",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported Media Type",
                "BadRequestException",
            ),
            Self::BadRequest => ("DEFAULT_4XX", StatusCode::BAD_REQUEST, "Bad Request", "BadRequestException"),
            Self::Throttled => {
                ("THROTTLED", StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", "TooManyRequestsException")
            }
            Self::FailedFunction => {
                ("INTEGRATION_FAILURE", StatusCode::BAD_GATEWAY, ERROR, "InternalServerErrorException")
            }
            Self::MalformedProxyResponse => {
                ("API_CONFIGURATION_ERROR", StatusCode::BAD_GATEWAY, ERROR, "InternalServerErrorException")
            }
            Self::IntegrationTimeout => (
                "INTEGRATION_TIMEOUT",
                StatusCode::GATEWAY_TIMEOUT,
                "Endpoint request timed out",
                "InternalServerErrorException",
            ),
            Self::ApiConfigurationError => {
                ("API_CONFIGURATION_ERROR", StatusCode::INTERNAL_SERVER_ERROR, ERROR, "InternalServerErrorException")
            }
            Self::Internal => ("DEFAULT_5XX", StatusCode::INTERNAL_SERVER_ERROR, ERROR, "InternalServerErrorException"),
        }
    }

    /// Returns the response: the API's own for this type, then its `DEFAULT_4XX` or `DEFAULT_5XX`, else AWS's default.
    pub(super) fn answer(self, own: &[GatewayResponse], context: &Context, accept: Option<&str>) -> Response<Body> {
        let (response_type, default_status, message, error_type) = self.facts();
        let fallback = if default_status.is_client_error() { "DEFAULT_4XX" } else { "DEFAULT_5XX" };
        let of_type = |name: &str| own.iter().find(|response| response.response_type == name);
        let own = of_type(response_type).or_else(|| of_type(fallback));
        let status = own
            .and_then(|own| own.status_code)
            .and_then(|status| StatusCode::from_u16(status).ok())
            .filter(|status| !status.is_informational())
            .unwrap_or(default_status);
        let (kind, body) = own.and_then(|own| choose_template(&own.templates, accept)).map_or_else(
            || ("application/json", format!(r#"{{"message":{}}}"#, Value::from(message))),
            |(kind, template)| (kind, context.fill(template, Some(ErrorContext { message, response_type }))),
        );
        let own_headers = own.into_iter().flat_map(|own| &own.headers).map(|(name, value)| (&**name, &**value));
        let headers = [("content-type", kind), ("x-amzn-errortype", error_type)].into_iter().chain(own_headers);
        answer(status, headers, body)
    }
}
