//! DynamoDB's API as others reach it: what functions ask for all the time is answered by the engine itself, the rest by its
//! own server.

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

/// DynamoDB's own limit of a request.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// What stands before the version of the API and a full stop in `X-Amz-Target`.
const TARGET: &str = "DynamoDB_";

/// What a request of DynamoDB's API names: the rest of it is the engine's business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Named {
    pub(crate) table_name: String,
    pub(crate) index_name: Option<String>,
    /// By table.
    #[expect(clippy::zero_sized_map_values, reason = "JSON has a map here, and its values are of no interest")]
    pub(crate) request_items: BTreeMap<String, IgnoredAny>,
    /// Each by its kind, such as `Put`.
    pub(crate) transact_items: Vec<BTreeMap<String, Named>>,
}

impl Named {
    /// The tables, some of them more than once.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let items = self.transact_items.iter().flat_map(BTreeMap::values);
        let named = std::iter::once(self).chain(items).map(|named| named.table_name.as_str());
        named.chain(self.request_items.keys().map(String::as_str))
    }
}

/// The operation that `X-Amz-Target` names, after the version of the API.
pub(crate) fn operation(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}

/// Decides on a request, by its headers, its operation and what it names; the answer to one that may not pass.
type Decide = dyn Fn(&HeaderMap, &str, &Named) -> Result<(), Box<Response>> + Send + Sync;

#[derive(Clone)]
struct Front {
    engine: Engine,
    decide: Arc<Decide>,
}

/// The API, for requests that `decide` lets pass. Blocks while the engine works.
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
    // As the SDKs send it. The engine's server has an answer to everything else, and to what is not signed.
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
