//! DynamoDB's API for clients. The engine executes the frequent operations directly, and its server executes the
//! others.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, de::IgnoredAny};
use uuid::Uuid;

use super::Engine;
use crate::doors;

/// DynamoDB's maximum size of a request, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Prefix of `X-Amz-Target`, before the version of the API and a full stop.
const TARGET: &str = "DynamoDB_";

/// Tables and indexes of a DynamoDB request. The engine parses the other members.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Named {
    pub(crate) table_name: String,
    pub(crate) index_name: Option<String>,
    /// Requests by table.
    #[expect(clippy::zero_sized_map_values, reason = "JSON has a map here, whose values are not used")]
    pub(crate) request_items: BTreeMap<String, IgnoredAny>,
    /// Items by their kind, such as `Put`.
    pub(crate) transact_items: Vec<BTreeMap<String, Named>>,
}

impl Named {
    /// Returns the tables. A table can occur more than once.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let items = self.transact_items.iter().flat_map(BTreeMap::values);
        let named = std::iter::once(self).chain(items).map(|named| named.table_name.as_str());
        named.chain(self.request_items.keys().map(String::as_str))
    }
}

/// Returns the operation in `X-Amz-Target`, which follows the version of the API.
pub(crate) fn operation(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}

/// Check of a request by its headers, its operation and its tables. Returns the response to a rejected request.
type Decide = dyn Fn(&HeaderMap, &str, &Named) -> Result<(), Box<Response>> + Send + Sync;

#[derive(Clone)]
struct Front {
    engine: Engine,
    decide: Arc<Decide>,
}

/// Returns the API for requests that `decide` accepts. Blocks while the engine works.
pub(crate) fn router(
    engine: Engine,
    decide: impl Fn(&HeaderMap, &str, &Named) -> Result<(), Box<Response>> + Send + Sync + 'static,
) -> Router {
    Router::new().fallback(answer).with_state(Front { engine, decide: Arc::new(decide) })
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = text("x-amz-target");
    let operation = operation(target);
    let named: Named = serde_json::from_slice(&body).unwrap_or_default();
    if let Err(refusal) = (front.decide)(&parts.headers, operation, &named) {
        return *refusal;
    }
    // The form of the SDKs' requests. The engine's server responds to all others, including unsigned ones.
    let is_usual = target.starts_with(TARGET)
        && text(header::CONTENT_TYPE.as_str()) == CONTENT_TYPE
        && doors::is_signed(&parts.headers);
    if is_usual && let Some((status, answer)) = front.engine.answer(operation, &body, named.tables()) {
        let request_id = Uuid::new_v4().simple().to_string().to_uppercase();
        let headers = [("content-type", CONTENT_TYPE), ("x-amzn-requestid", &request_id)];
        return (status, headers, answer).into_response();
    }
    match front.engine.ask(http::Request::from_parts(parts, body)).await {
        Ok(answer) => answer.map(Body::from),
        Err(error) => {
            tracing::error!(%error, "DynamoDB could not be reached");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
