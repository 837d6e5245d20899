//! `MOCK` integrations: "Mock integrations for REST APIs in API Gateway".

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::Value;

use crate::stack::MockResponse;

use super::{
    context::{Context, answer, choose_template},
    gateway_response::Failure,
};

/// Returns the response of a mock integration. The request template of the request's content type names the status, and
/// the status selects the response. A request without a content type counts as `application/json`.
///
/// A content type without a template is rejected, which is `PassthroughBehavior: NEVER`. With the other behaviors AWS
/// would take the status from the body.
pub(super) fn respond(
    request_templates: &BTreeMap<String, String>,
    responses: &[MockResponse],
    context: &Context,
    content_type: Option<&str>,
    accept: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let kind = content_type
        .map_or("application/json", |kind| kind.split(';').next().unwrap_or_default().trim())
        .to_ascii_lowercase();
    let template = request_templates.get(&kind).ok_or(Failure::UnsupportedMediaType)?;
    let status = status(&context.fill(template, None)).ok_or(Failure::ApiConfigurationError)?;
    let response =
        responses.iter().find(|response| response.status_code == status).ok_or(Failure::ApiConfigurationError)?;
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or(Failure::ApiConfigurationError)?;
    let (kind, body) = choose_template(&response.templates, accept)
        .map_or(("application/json", String::new()), |(kind, template)| (kind, context.fill(template, None)));
    let own = response.headers.iter().map(|(name, value)| (&**name, &**value));
    Ok(answer(status, std::iter::once(("content-type", kind)).chain(own), body))
}

/// Returns the number in `{"statusCode": 204}`. API Gateway accepts the name without quotes as well, as YAML does.
fn status(rendered: &str) -> Option<u16> {
    let value: Value = serde_json::from_str(rendered).or_else(|_| serde_yaml_ng::from_str(rendered)).ok()?;
    u16::try_from(value.get("statusCode")?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_status_may_be_named_with_and_without_quotes() {
        for (rendered, expected) in [
            (r#"{"statusCode": 204}"#, Some(204)),
            ("{statusCode: 405}", Some(405)),
            ("{}", None),
            ("", None),
            (r#"{"statusCode": 70000}"#, None),
        ] {
            assert_eq!(super::status(rendered), expected, "{rendered}");
        }
    }
}
