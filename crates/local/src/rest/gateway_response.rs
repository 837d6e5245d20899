//! What the gateway answers by itself when no integration does.

use axum::response::Response;
use http::StatusCode;

use crate::stack::GatewayResponse;

use super::{
    templated,
    variables::{Context, ErrorContext, fill},
};

/// The kinds of errors that can happen here ("Gateway response types for API Gateway").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseType {
    MissingAuthenticationToken,
    RequestTooLarge,
    IntegrationTimeout,
    ApiConfigurationError,
    /// A function that failed: none of the types, so the default for 5xx.
    Default5xx(StatusCode),
}

impl ResponseType {
    fn name(self) -> &'static str {
        match self {
            Self::MissingAuthenticationToken => "MISSING_AUTHENTICATION_TOKEN",
            Self::RequestTooLarge => "REQUEST_TOO_LARGE",
            Self::IntegrationTimeout => "INTEGRATION_TIMEOUT",
            Self::ApiConfigurationError => "API_CONFIGURATION_ERROR",
            Self::Default5xx(_) => "DEFAULT_5XX",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::MissingAuthenticationToken => StatusCode::FORBIDDEN,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::IntegrationTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ApiConfigurationError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Default5xx(status) => status,
        }
    }
}

/// The response: the API's own for the type, or for the type's class, or API Gateway's default.
pub(super) fn make(own: &[GatewayResponse], kind: ResponseType, message: &str, context: &Context) -> Response {
    let default = if kind.status().is_server_error() { "DEFAULT_5XX" } else { "DEFAULT_4XX" };
    let of_type = |name: &str| own.iter().find(|response| response.response_type == name);
    let error = ErrorContext { message, response_type: kind.name() };
    let Some(response) = of_type(kind.name()).or_else(|| of_type(default)) else {
        let body = fill(r#"{"message":$context.error.messageString}"#, context, Some(&error));
        return templated(kind.status(), std::iter::empty(), "application/json", body);
    };
    let status = response.status_code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(kind.status());
    let (content_type, template) = response
        .templates
        .iter()
        .next()
        .map_or(("application/json", r#"{"message":$context.error.messageString}"#), |(content_type, template)| {
            (content_type.as_str(), template.as_str())
        });
    templated(status, response.headers.iter(), content_type, fill(template, context, Some(&error)))
}
