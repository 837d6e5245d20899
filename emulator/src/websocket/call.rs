//! Invocation of the function of a route.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::{lambda::Invoke, rest::proxy, stack::Route};

/// Response of a function.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    /// The first `Sec-WebSocket-Protocol` header, in any case.
    pub(super) subprotocol: Option<String>,
    pub(super) body: Option<String>,
}

/// Reason why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// The integration timed out.
    TimedOut,
    /// The function failed, could not be started, or its response has no `statusCode`.
    Failed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyResponse {
    status_code: Value,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<Value>>>,
    #[serde(default)]
    body: Option<String>,
}

/// Invokes the function of `route` with `event`. Fails after the route's timeout.
pub(super) async fn call(invoke: &Arc<dyn Invoke>, route: &Route, event: Value) -> Result<Answer, CallError> {
    let function = &*route.function;
    // Runs as its own task, because a function runs to its end even after the timeout.
    let invocation = tokio::spawn(invoke.invoke(function, Bytes::from(event.to_string())));
    let Ok(ended) = tokio::time::timeout(route.timeout, invocation).await else {
        tracing::warn!(
            function,
            route = route.route_key,
            "the function did not respond within the integration's timeout"
        );
        return Err(CallError::TimedOut);
    };
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(function, route = route.route_key, %error, "the function failed");
        CallError::Failed
    };
    let invocation = ended.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let answer = invocation.outcome.map_err(|error| failed(&error))?;
    parse(&answer).ok_or_else(|| failed(&"its response is not a proxy response: it needs a statusCode"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let answer: ProxyResponse = serde_json::from_slice(answer).ok()?;
    let multi = answer
        .multi_value_headers
        .into_iter()
        .flatten()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
    let subprotocol = answer
        .headers
        .into_iter()
        .flatten()
        .chain(multi)
        .find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Protocol"))
        .and_then(|(_, value)| value.as_str().map(str::to_owned));
    Some(Answer { status: proxy::status(&answer.status_code)?, subprotocol, body: answer.body })
}
