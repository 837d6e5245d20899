//! IAM, as far as it concerns the functions: each may call what the policies of its role allow, as on AWS.
//!
//! A function signs its requests with an access key that is its own name; requests that are signed otherwise come from
//! the person at the desk, who may do all. What is refused is answered as AWS does, and logged, so that a permission
//! that a template lacks is missed here and not after a deployment. What is used is noted, so that tests can tell what
//! nobody needs ([`Access::calls`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use uuid::Uuid;

use crate::{dynamodb::Engine, rest::wire, stack::Grant};

/// DynamoDB's own limit of a request.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// What the functions may do. Clones share what has been noted.
#[derive(Debug, Clone, Default)]
pub struct Access {
    grants: Arc<BTreeMap<String, Vec<Grant>>>,
    calls: Arc<Mutex<BTreeSet<Call>>>,
    notes: Option<Arc<File>>,
}

/// A function has done something to something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Name of the function.
    pub function: String,
    /// Such as `dynamodb:GetItem`.
    pub action: String,
    /// ARN.
    pub resource: String,
}

impl Access {
    /// By the grants of each function, by its name.
    #[must_use]
    pub fn new(grants: BTreeMap<String, Vec<Grant>>) -> Self {
        Self { grants: Arc::new(grants), calls: Arc::default(), notes: None }
    }

    /// Writes each new call to the end of a file too, in a line: function, action, resource.
    pub fn noting(self, file: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(file)?;
        Ok(Self { notes: Some(Arc::new(file)), ..self })
    }

    /// What functions have been allowed so far, each thing once.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether whoever signed a request may do this, for each action with its resource; the first that it may not.
    fn check(&self, headers: &HeaderMap, wanted: &[(String, String)]) -> Result<(), String> {
        let Some((function, grants)) = signer(headers).and_then(|name| self.grants.get_key_value(name)) else {
            return Ok(());
        };
        for (action, resource) in wanted {
            if !grants.iter().any(|grant| grant.action == *action && matches(&grant.resource, resource)) {
                let message = format!("{function} is not authorized to perform: {action} on resource: {resource}");
                tracing::error!(function, action, resource, "its role does not allow this: see infra/backend.yaml");
                return Err(message);
            }
            let call = Call { function: function.clone(), action: action.clone(), resource: resource.clone() };
            let new = self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
            if let (true, Some(mut notes)) = (new, self.notes.as_deref())
                && let Err(error) = notes.write_all(format!("{function} {action} {resource}\n").as_bytes())
            {
                tracing::error!(%error, "a call could not be noted");
            }
        }
        Ok(())
    }
}

/// The access key of a Signature Version 4.
fn signer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    header.strip_prefix("AWS4-HMAC-SHA256 ")?.split_once("Credential=")?.1.split('/').next()
}

/// A resource of a policy: `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn refused(status: StatusCode, message: &str, kind: &'static str) -> Response {
    let mut response =
        (status, json!({ "__type": kind, "Message": message, "message": message }).to_string()).into_response();
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Lets requests to `router` pass that are allowed; `wanted` tells what a request asks for, if anything.
pub fn guarded(
    router: Router,
    access: Access,
    kind: &'static str,
    wanted: impl Fn(&Parts) -> Option<(String, String)> + Clone + Send + Sync + 'static,
) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (parts, body) = request.into_parts();
        let verdict = wanted(&parts).map_or(Ok(()), |wanted| access.check(&parts.headers, &[wanted]));
        async move {
            match verdict {
                Ok(()) => next.run(Request::from_parts(parts, body)).await,
                Err(message) => refused(StatusCode::FORBIDDEN, &message, kind),
            }
        }
    }))
}

/// What a request of the Lambda API asks for ("Actions, resources, and condition keys for AWS Lambda"); `prefix` is
/// the ARN of a function without its name.
#[must_use]
pub fn invocation(prefix: &str, parts: &Parts) -> Option<(String, String)> {
    let name = parts.uri.path().strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")?;
    let name = wire::decode(name);
    let name = name.rsplit(':').next().unwrap_or_default();
    Some(("lambda:InvokeFunction".to_owned(), format!("{prefix}{name}")))
}

/// What a request of the management API asks for ("Control access to a WebSocket API with IAM authorization"); `prefix`
/// is the ARN of a stage with a slash.
#[must_use]
pub fn connection(prefix: &str, parts: &Parts) -> Option<(String, String)> {
    let path = wire::decode(parts.uri.path());
    let (_, id) = path.split_once("/@connections/")?;
    Some(("execute-api:ManageConnections".to_owned(), format!("{prefix}{}/@connections/{id}", parts.method)))
}

/// The operation that `X-Amz-Target` names, after the version of the API.
fn operation(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}

/// What a request of DynamoDB's API names: the rest of it is the engine's business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    table_name: String,
    index_name: Option<String>,
    /// By table.
    #[expect(clippy::zero_sized_map_values, reason = "JSON has a map here, and its values are of no interest")]
    request_items: BTreeMap<String, IgnoredAny>,
    /// Each by its kind, such as `Put`.
    transact_items: Vec<BTreeMap<String, Named>>,
}

impl Named {
    /// The tables, some of them more than once.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let items = self.transact_items.iter().flat_map(BTreeMap::values);
        let named = std::iter::once(self).chain(items).map(|named| named.table_name.as_str());
        named.chain(self.request_items.keys().map(String::as_str))
    }
}

/// What a request of DynamoDB's API asks for ("Actions, resources, and condition keys for Amazon DynamoDB"): one of
/// several tables asks for each, a transaction for what each of its items would. `prefix` is the ARN of a table without
/// its name.
fn of_dynamodb(prefix: &str, operation: &str, named: &Named) -> Vec<(String, String)> {
    let table = |Named { table_name: name, index_name, .. }: &Named| {
        let arn = if name.starts_with("arn:") { name.clone() } else { format!("{prefix}{name}") };
        index_name.as_ref().map_or_else(|| arn.clone(), |index| format!("{arn}/index/{index}"))
    };
    let action = |operation: &str| format!("dynamodb:{operation}");
    match operation {
        "BatchGetItem" | "BatchWriteItem" => {
            named.request_items.keys().map(|name| (action(operation), format!("{prefix}{name}"))).collect()
        }
        "TransactWriteItems" | "TransactGetItems" => {
            let of_item = |kind: &str| match kind {
                "ConditionCheck" => action("ConditionCheckItem"),
                other => action(&format!("{other}Item")),
            };
            let items = named.transact_items.iter().flatten();
            items.map(|(kind, item)| (of_item(kind), table(item))).collect()
        }
        _ => vec![(action(operation), table(named))],
    }
}

/// DynamoDB for the functions: asks [`Access`], then the engine.
#[derive(Clone)]
struct Gate {
    access: Access,
    engine: Engine,
    /// For what the engine does not answer itself.
    client: reqwest::Client,
    server: String,
    prefix: String,
}

/// DynamoDB for the functions, by `engine` and the API at `server`; `prefix` is the ARN of a table without its name. Blocks
/// while the engine works ([`Engine::serve_front`]).
pub(crate) fn gate(access: Access, engine: Engine, server: &str, prefix: String) -> Router {
    let gate = Gate { access, engine, client: reqwest::Client::new(), server: server.to_owned(), prefix };
    Router::new().fallback(pass).with_state(gate)
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = operation(target);
    let named: Named = serde_json::from_slice(&body).unwrap_or_default();
    if let Err(message) = gate.access.check(&parts.headers, &of_dynamodb(&gate.prefix, operation, &named)) {
        // "Error handling with DynamoDB": 400.
        return refused(StatusCode::BAD_REQUEST, &message, "AccessDeniedException");
    }
    if let Some((status, answer)) = gate.engine.answer(operation, &body, named.tables()) {
        let request_id = Uuid::new_v4().simple().to_string().to_uppercase();
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amzn-requestid", &request_id)];
        return (status, headers, answer).into_response();
    }
    gate.forward(parts, body).await.unwrap_or_else(|error| {
        tracing::error!(%error, "DynamoDB could not be reached");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

impl Gate {
    async fn forward(&self, parts: Parts, body: Bytes) -> reqwest::Result<Response> {
        let mut headers = parts.headers;
        // Of this hop only.
        for hop in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
            headers.remove(hop);
        }
        let answer = self.client.request(parts.method, &self.server).headers(headers).body(body).send().await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        for hop in [header::CONNECTION, header::TRANSFER_ENCODING] {
            response.headers_mut().remove(hop);
        }
        *response.body_mut() = Body::from(answer.bytes().await?);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TABLE: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/";

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn requests_ask_for_what_they_do() {
        let asked = |target: &str, body: Value| {
            let named = serde_json::from_value(body).unwrap();
            of_dynamodb(TABLE, operation(target), &named)
        };
        let one = asked("DynamoDB_20120810.Query", json!({ "TableName": "t", "IndexName": "i", "Limit": 1 }));
        assert_eq!(one, [("dynamodb:Query".to_owned(), format!("{TABLE}t/index/i"))]);
        let batch = asked("X.BatchWriteItem", json!({ "RequestItems": { "a": [], "b": [] } }));
        let expected = ["a", "b"].map(|table| ("dynamodb:BatchWriteItem".to_owned(), format!("{TABLE}{table}")));
        assert_eq!(batch, expected);
        let items = json!({ "TransactItems": [
            { "Put": { "TableName": "a", "Item": { "TableName": { "S": "x" } } } },
            { "ConditionCheck": { "TableName": "b" } },
        ] });
        let expected = [("PutItem", "a"), ("ConditionCheckItem", "b")];
        let expected = expected.map(|(action, table)| (format!("dynamodb:{action}"), format!("{TABLE}{table}")));
        assert_eq!(asked("X.TransactWriteItems", items), expected);
    }

    #[test]
    fn a_function_may_do_what_its_role_allows_and_others_may_do_all() {
        let grant = Grant { action: "dynamodb:GetItem".into(), resource: format!("{TABLE}a") };
        let access = Access::new(BTreeMap::from([("f".to_owned(), vec![grant])]));
        let signed = |key: &str| {
            let value =
                format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/dynamodb/aws4_request, Signature=x");
            HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
        };
        let ask = |key: &str, action: &str, table: &str| {
            access.check(&signed(key), &[(action.to_owned(), format!("{TABLE}{table}"))]).is_ok()
        };
        assert!(ask("f", "dynamodb:GetItem", "a"));
        assert!(!ask("f", "dynamodb:GetItem", "b"));
        assert!(!ask("f", "dynamodb:PutItem", "a"));
        assert!(ask("somebody", "dynamodb:DeleteTable", "a"));
        let calls = access.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].function.as_str(), calls[0].action.as_str()), ("f", "dynamodb:GetItem"));
    }
}
