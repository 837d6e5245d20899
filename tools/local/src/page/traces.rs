//! The traces that the page draws, from the run's own OTLP receiver.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::problem;
use crate::otlp::{Collector, Summary, TraceId};

/// Query of `GET /traces?channel_id=…&seq=…`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfMessage {
    channel_id: String,
    seq: u64,
}

/// Response to it, with the oldest trace first.
#[derive(Debug, Serialize)]
struct Summaries {
    traces: Vec<Summary>,
}

pub(super) fn router(collector: Collector) -> Router {
    Router::new().route("/traces", get(of_message)).route("/traces/{trace_id}", get(one)).with_state(collector)
}

async fn of_message(State(collector): State<Collector>, query: Result<Query<OfMessage>, QueryRejection>) -> Response {
    match query {
        Ok(Query(OfMessage { channel_id, seq })) => {
            Json(Summaries { traces: collector.of_message(&channel_id, seq) }).into_response()
        }
        Err(rejection) => problem(rejection.status(), &rejection.body_text()),
    }
}

/// Returns one trace with an `ETag`, so that repeated requests are cheap while it is unchanged.
async fn one(State(collector): State<Collector>, headers: HeaderMap, Path(trace_id): Path<String>) -> Response {
    let id: TraceId = match trace_id.parse() {
        Ok(id) => id,
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, &format!("{trace_id:?}: {error}.")),
    };
    let Some(trace) = collector.trace(id) else {
        return problem(StatusCode::NOT_FOUND, "Nothing of this trace is here: not yet, or no longer.");
    };
    let tag = format!("\"{}\"", trace.version);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|held| held.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(trace)).into_response()
}
