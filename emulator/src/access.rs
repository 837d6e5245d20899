//! IAM for the functions: each function may perform the actions that the policies of its role allow, as on AWS.
//!
//! A function signs its requests with its name as the access key. Requests with another signature come from the user of
//! the machine and are always allowed. A denied request fails as on AWS and is logged, so that a missing permission of
//! a template is found before a deployment. Allowed calls are recorded, so that tests can find permissions that no
//! function needs ([`Access::calls`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde_json::json;

use crate::{
    doors,
    dynamodb::{self, Engine, Named},
    rest::wire,
    stack::Grant,
};

/// Permissions of the functions. Clones share the recorded calls.
#[derive(Debug, Clone, Default)]
pub struct Access {
    grants: Arc<BTreeMap<String, Vec<Grant>>>,
    calls: Arc<Mutex<BTreeSet<Call>>>,
    notes: Option<Arc<File>>,
}

/// An action of a function on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Name of the function.
    pub function: String,
    /// Action, such as `dynamodb:GetItem`.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
}

impl Access {
    /// Creates the permissions from the grants of each function, by its name.
    #[must_use]
    pub fn new(grants: BTreeMap<String, Vec<Grant>>) -> Self {
        Self { grants: Arc::new(grants), calls: Arc::default(), notes: None }
    }

    /// Appends each new call to a file as well. A line is: function, action, resource.
    pub fn with_call_log(self, file: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(file)?;
        Ok(Self { notes: Some(Arc::new(file)), ..self })
    }

    /// Returns the calls that were allowed, each once.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Checks that the signer of a request may perform each action on its resource. Fails with the first denied action.
    pub(crate) fn check(&self, headers: &HeaderMap, wanted: &[(String, String)]) -> Result<(), String> {
        let Some((function, grants)) = signer(headers).and_then(|name| self.grants.get_key_value(name)) else {
            return Ok(());
        };
        for (action, resource) in wanted {
            if !grants.iter().any(|grant| grant.action == *action && matches(&grant.resource, resource)) {
                let message = format!("{function} is not authorized to perform: {action} on resource: {resource}");
                tracing::error!(function, action, resource, "its role did not allow this: see infra/backend.yaml");
                return Err(message);
            }
            let call = Call { function: function.clone(), action: action.clone(), resource: resource.clone() };
            let new = self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
            if let (true, Some(mut notes)) = (new, self.notes.as_deref())
                && let Err(error) = notes.write_all(format!("{function} {action} {resource}\n").as_bytes())
            {
                tracing::error!(%error, "a call could not be recorded");
            }
        }
        Ok(())
    }
}

/// Returns the access key of a Signature Version 4.
fn signer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    header.strip_prefix("AWS4-HMAC-SHA256 ")?.split_once("Credential=")?.1.split('/').next()
}

/// Matches a resource against the resource of a policy, in which `*` stands for any characters.
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

pub(crate) fn refused(status: StatusCode, message: &str, kind: &'static str) -> Response {
    let mut response =
        (status, json!({ "__type": kind, "Message": message, "message": message }).to_string()).into_response();
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Passes allowed requests to `router`. `wanted` returns the action and resource of a request, if it needs a
/// permission.
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

/// Returns the action and resource of a request to the Lambda API ("Actions, resources, and condition keys for AWS
/// Lambda"). `prefix` is the ARN of a function without its name.
#[must_use]
pub fn invocation(prefix: &str, parts: &Parts) -> Option<(String, String)> {
    let name = parts.uri.path().strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")?;
    let name = wire::decode(name);
    let name = name.rsplit(':').next().unwrap_or_default();
    Some(("lambda:InvokeFunction".to_owned(), format!("{prefix}{name}")))
}

/// Returns the action and resource of a request to the management API ("Control access to a WebSocket API with IAM
/// authorization"). `prefix` is the ARN of a stage with a slash.
#[must_use]
pub fn connection(prefix: &str, parts: &Parts) -> Option<(String, String)> {
    let path = wire::decode(parts.uri.path());
    let (_, id) = path.split_once("/@connections/")?;
    Some(("execute-api:ManageConnections".to_owned(), format!("{prefix}{}/@connections/{id}", parts.method)))
}

/// Returns the actions and resources of a request to DynamoDB ("Actions, resources, and condition keys for Amazon
/// DynamoDB"). A request for several tables needs a permission for each; a transaction needs those of its items.
/// `prefix` is the ARN of a table without its name.
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

/// Serves DynamoDB by `engine` to the functions and denies what their roles do not allow. `prefix` is the ARN of a
/// table without its name.
pub fn gate(access: Access, engine: Engine, prefix: String) -> Router {
    dynamodb::router(engine, move |headers, operation, named| {
        let checked = access.check(headers, &of_dynamodb(&prefix, operation, named));
        // "Error handling with DynamoDB": 400.
        checked.map_err(|message| Box::new(refused(StatusCode::BAD_REQUEST, &message, "AccessDeniedException")))
    })
}

/// Passes signed requests and fails others as AWS does ("Common error types" in the API references of Lambda and SQS).
/// The signature itself is not verified, because the local run has no accounts.
pub fn signed(router: Router) -> Router {
    router.layer(middleware::from_fn(async |request: Request, next: Next| {
        if doors::is_signed(request.headers()) {
            return next.run(request).await;
        }
        refused(StatusCode::FORBIDDEN, "Request is missing Authentication Token", "MissingAuthenticationTokenException")
    }))
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
            of_dynamodb(TABLE, dynamodb::operation(target), &named)
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
