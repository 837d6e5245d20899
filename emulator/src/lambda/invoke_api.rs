//! `Invoke` in the form of the AWS SDKs and the AWS CLI ("Invoke" in the Lambda API reference).

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use uuid::Uuid;

use super::{
    AsyncInvokeError, Invocation, Invoke, InvokeError, Lambda, VERSION,
    body::{self, Refused},
    limits::{MAX_ASYNC_REQUEST_BYTES, MAX_REQUEST_BYTES},
};

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const REQUEST_ID: &str = "x-amzn-requestid";

/// Serves `Invoke` on `lambda`. [`crate::access::signed`] requires a signature.
pub fn router(lambda: Lambda) -> Router {
    Router::new().route("/2015-03-31/functions/{function}/invocations", post(invoke)).with_state(lambda)
}

#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(rename = "Qualifier")]
    qualifier: Option<String>,
}

/// `X-Amz-Invocation-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvocationType {
    RequestResponse,
    Event,
    DryRun,
}

impl InvocationType {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(INVOCATION_TYPE).map(|value| value.to_str().unwrap_or_default()) {
            None | Some("" | "RequestResponse") => Ok(Self::RequestResponse),
            Some("Event") => Ok(Self::Event),
            Some("DryRun") => Ok(Self::DryRun),
            Some(other) => Err(Problem::InvalidParameter(format!(
                "'{other}' is no invocation type: it is RequestResponse, Event or DryRun"
            ))),
        }
    }
}

async fn invoke(
    State(lambda): State<Lambda>,
    Path(function): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let kind = InvocationType::of(&headers);
    // Reads the body before responding: a client that is still sending would lose the response.
    let limit = if matches!(kind, Ok(InvocationType::Event)) { MAX_ASYNC_REQUEST_BYTES } else { MAX_REQUEST_BYTES };
    let payload = body::read(body, limit).await;
    answer(&lambda, &function, parameters.qualifier.as_deref(), kind, payload, limit)
        .await
        .unwrap_or_else(Problem::into_response)
}

async fn answer(
    lambda: &Lambda,
    function: &str,
    qualifier: Option<&str>,
    kind: Result<InvocationType, Problem>,
    payload: Result<Bytes, Refused>,
    limit: usize,
) -> Result<Response, Problem> {
    let kind = kind?;
    if lambda.pool(function).is_none() || qualifier.is_some_and(|qualifier| qualifier != VERSION) {
        let version = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        return Err(Problem::Refused(InvokeError::UnknownFunction(format!("{function}{version}"))));
    }
    let payload = match payload {
        Ok(payload) if payload.is_empty() => Bytes::from_static(b"{}"),
        Ok(payload) => payload,
        Err(Refused::TooLarge(size)) => {
            return Err(Problem::Refused(InvokeError::PayloadTooLarge { size, limit }));
        }
        Err(Refused::Truncated) => return Err(Problem::InvalidContent("the request ended early".into())),
    };
    serde_json::from_slice::<IgnoredAny>(&payload)
        .map_err(|error| Problem::InvalidContent(format!("Could not parse request body into json: {error}")))?;
    match kind {
        InvocationType::DryRun => Ok((StatusCode::NO_CONTENT, request_id(&new_id())).into_response()),
        InvocationType::Event => {
            let id = lambda.invoke_async(function, payload).await?;
            Ok((StatusCode::ACCEPTED, request_id(&id)).into_response())
        }
        InvocationType::RequestResponse => Ok(outcome(lambda.invoke(function, payload).await?)),
    }
}

/// Returns `200`, also if the function failed. Lambda marks every error as `Unhandled`, because all runtimes report
/// errors in the same way. `Handled` belongs to discontinued runtimes.
fn outcome(Invocation { request_id: id, outcome }: Invocation) -> Response {
    let headers = [("x-amz-executed-version", VERSION), ("content-type", "application/json")];
    match outcome {
        Ok(payload) => (request_id(&id), headers, payload).into_response(),
        Err(error) => {
            let payload = json!({ "errorType": error.error_type, "errorMessage": error.message });
            (request_id(&id), headers, [("x-amz-function-error", "Unhandled")], payload.to_string()).into_response()
        }
    }
}

/// Reason why an invocation did not run.
#[derive(Debug)]
enum Problem {
    Refused(InvokeError),
    InvalidContent(String),
    InvalidParameter(String),
    NotKept(String),
}

impl From<InvokeError> for Problem {
    fn from(error: InvokeError) -> Self {
        Self::Refused(error)
    }
}

impl From<AsyncInvokeError> for Problem {
    fn from(error: AsyncInvokeError) -> Self {
        match error {
            AsyncInvokeError::Refused(error) => Self::Refused(error),
            AsyncInvokeError::NotKept { .. } => Self::NotKept(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::Refused(InvokeError::UnknownFunction(name)) => {
                (StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Function not found: {name}"))
            }
            Self::Refused(error @ InvokeError::PayloadTooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", error.to_string())
            }
            Self::Refused(InvokeError::Throttled) => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Rate Exceeded.".to_owned())
            }
            Self::Refused(error @ InvokeError::Stopping) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", error.to_string())
            }
            Self::InvalidContent(message) => (StatusCode::BAD_REQUEST, "InvalidRequestContentException", message),
            Self::InvalidParameter(message) => (StatusCode::BAD_REQUEST, "InvalidParameterValueException", message),
            Self::NotKept(message) => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message),
        };
        let origin = if status.is_server_error() { "Service" } else { "User" };
        // The spelling of the member differs between the API's exceptions.
        let spelling = match kind {
            "ResourceNotFoundException" | "ServiceException" => "Message",
            _ => "message",
        };
        let body = Json(json!({ "Type": origin, spelling: message }));
        (status, request_id(&new_id()), [("x-amzn-errortype", kind)], body).into_response()
    }
}

fn request_id(id: &str) -> [(&'static str, String); 1] {
    [(REQUEST_ID, id.to_owned())]
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}
