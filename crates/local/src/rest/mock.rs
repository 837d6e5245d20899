//! Mock integrations ("Mock integrations for REST APIs in API Gateway").

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;

use crate::stack::MockResponse;

use super::{
    Outcome,
    gateway_response::ResponseType,
    templated,
    variables::{Context, fill},
};

/// The request template names a status; the response of that status answers.
pub(super) fn answer(
    request_templates: &BTreeMap<String, String>,
    responses: &[MockResponse],
    context: &Context,
) -> Outcome {
    let broken = || (ResponseType::ApiConfigurationError, "Internal server error".to_owned());
    let template = request_templates.values().next().ok_or_else(broken)?;
    let chosen: Value = serde_json::from_str(&fill(template, context, None)).map_err(|_| broken())?;
    let code = chosen.get("statusCode").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let response = responses.iter().find(|response| Some(response.status_code) == code).ok_or_else(broken)?;
    let status = StatusCode::from_u16(response.status_code).map_err(|_| broken())?;
    let (content_type, template) = response
        .templates
        .iter()
        .next()
        .map_or(("application/json", ""), |(content_type, template)| (content_type.as_str(), template.as_str()));
    Ok(templated(status, response.headers.iter(), content_type, fill(template, context, None)))
}
