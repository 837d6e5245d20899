//! Reads the methods, routes and integrations of the two APIs.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use super::{Result, functions::invoked};
use crate::{
    stack::{GatewayResponse, Integration, Method, MockResponse, Route, Throttle},
    template::properties::Properties,
};

/// API Gateway's limit and default for an integration, in milliseconds.
const INTEGRATION_TIMEOUT_MS: i64 = 29_000;

/// Reads a gateway response of the REST API.
pub(super) fn gateway_response(p: &mut Properties) -> Result<GatewayResponse> {
    p.required("RestApiId")?;
    Ok(GatewayResponse {
        response_type: p.required_text("ResponseType")?,
        status_code: status(p)?,
        headers: headers(p, "gatewayresponse.header.")?,
        templates: p.texts("ResponseTemplates")?,
    })
}

/// Reads the function and the timeout of an integration of the WebSocket API.
pub(super) fn integration(p: &mut Properties) -> Result<(String, Duration)> {
    p.required("ApiId")?;
    p.exactly("IntegrationType", "AWS_PROXY")?;
    p.ignore(&["IntegrationMethod"]);
    Ok((invoked(p, "IntegrationUri")?, integration_timeout(p)?))
}

/// Reads a route of the WebSocket API. Returns it with the id of its integration.
pub(super) fn route(p: &mut Properties) -> Result<(Route, String)> {
    p.required("ApiId")?;
    p.exactly("AuthorizationType", "NONE")?;
    p.ignore(&["RouteResponseSelectionExpression"]);
    let target = p.required_text("Target")?;
    let target = target.strip_prefix("integrations/").ok_or_else(|| p.error("Target", "must be integrations/<id>"))?;
    let route = Route {
        route_key: p.required_text("RouteKey")?,
        function: String::new(),
        timeout: Duration::ZERO,
        responds: false,
        throttle: None,
    };
    Ok((route, target.into()))
}

/// Reads the throttle of a message route. Its other settings have no meaning in a local run.
pub(super) fn throttle(route_key: &str, p: &mut Properties) -> Result<Throttle> {
    if ["$connect", "$disconnect"].contains(&route_key) {
        return Err(p.error("ThrottlingRateLimit", "the local run throttles the routes of messages only"));
    }
    p.ignore(&["LoggingLevel", "DataTraceEnabled", "DetailedMetricsEnabled"]);
    let mut limit = |name: &str| {
        let limit = p.number(name, 1..=i64::from(u32::MAX))?.and_then(|limit| u32::try_from(limit).ok());
        limit.and_then(NonZeroU32::new).ok_or_else(|| p.error(name, "is required"))
    };
    Ok(Throttle { rate: limit("ThrottlingRateLimit")?, burst: limit("ThrottlingBurstLimit")? })
}

pub(super) fn method(p: &mut Properties) -> Result<Method> {
    p.required("RestApiId")?;
    p.exactly("AuthorizationType", "NONE")?;
    // A request that lacks a path parameter matches no route here, so there is nothing to validate.
    p.ignore(&["MethodResponses", "OperationName", "RequestParameters", "RequestValidatorId"]);
    let mut i = p.nested("Integration")?.ok_or_else(|| p.error("Integration", "is required"))?;
    let integration = match i.required_text("Type")?.as_str() {
        "AWS_PROXY" => {
            i.exactly("IntegrationHttpMethod", "POST")?;
            Integration::LambdaProxy { function: invoked(&mut i, "Uri")?, timeout: integration_timeout(&mut i)? }
        }
        "MOCK" => {
            i.ignore(&["PassthroughBehavior"]);
            let at = i.path("IntegrationResponses");
            let mut responses = Vec::new();
            for response in i.list("IntegrationResponses")? {
                let mut response = Properties::new(&at, response)?;
                responses.push(MockResponse {
                    status_code: status(&mut response)?.ok_or_else(|| response.error("StatusCode", "is required"))?,
                    headers: headers(&mut response, "method.response.header.")?,
                    templates: response.texts("ResponseTemplates")?,
                });
                response.finish()?;
            }
            Integration::Mock { request_templates: i.texts("RequestTemplates")?, responses }
        }
        other => {
            return Err(i.error("Type", format!("{other} is not supported; use AWS_PROXY or MOCK")));
        }
    };
    i.finish()?;
    Ok(Method {
        resource_id: p.required_text("ResourceId")?,
        path: String::new(),
        http_method: p.required_text("HttpMethod")?,
        integration,
    })
}

fn integration_timeout(p: &mut Properties) -> Result<Duration> {
    let milliseconds = p.number("TimeoutInMillis", 50..=INTEGRATION_TIMEOUT_MS)?.unwrap_or(INTEGRATION_TIMEOUT_MS);
    Ok(Duration::from_millis(milliseconds.unsigned_abs()))
}

fn status(p: &mut Properties) -> Result<Option<u16>> {
    Ok(p.number("StatusCode", 100..=599)?.and_then(|status| u16::try_from(status).ok()))
}

/// Reads static headers, without the prefix of the mapping and the quotes of the literal.
fn headers(p: &mut Properties, prefix: &str) -> Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for (name, value) in p.texts("ResponseParameters")? {
        let at = format!("ResponseParameters.{name}");
        let header = name.strip_prefix(prefix).ok_or_else(|| p.error(&at, format!("must begin with {prefix}")))?;
        let literal = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        let literal = literal.ok_or_else(|| p.error(&at, "only a literal in single quotes is supported"))?;
        headers.insert(header.to_owned(), literal.to_owned());
    }
    Ok(headers)
}
