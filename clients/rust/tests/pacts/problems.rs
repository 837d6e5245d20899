//! Every error response of every operation, as the client parses it.

use std::time::Duration;

use pact_consumer::mock_server::ValidatingMockServer;
use pact_models::generators::Generator;
use reqwest::Method;
use switchboard_mobile::Error;

use super::*;

/// One request of each operation, which succeeds if its objects exist.
const OPERATIONS: [(&str, &str, &str, &str); 23] = [
    ("list channels", "GET", "/channels", ""),
    ("create a channel", "POST", "/channels", r#"{"channel_id":"general","name":"General","visibility":"public"}"#),
    ("read a channel", "GET", "/channels/general", ""),
    ("change a channel", "PATCH", "/channels/general", r#"{"name":"Everybody"}"#),
    ("delete a channel", "DELETE", "/channels/general", ""),
    ("list members", "GET", "/channels/general/members", ""),
    ("join", "PUT", "/channels/general/members/alice", "{}"),
    ("leave", "DELETE", "/channels/general/members/alice", ""),
    ("read history", "GET", "/channels/general/messages", ""),
    ("send", "POST", "/channels/general/messages", r#"{"content":"hi"}"#),
    ("read a message", "GET", "/channels/general/messages/1", ""),
    ("edit", "PATCH", "/channels/general/messages/1", r#"{"content":"better"}"#),
    ("delete a message", "DELETE", "/channels/general/messages/1", ""),
    ("read a thread", "GET", "/channels/general/messages/1/replies", ""),
    ("react", "PUT", "/channels/general/messages/1/reactions/%F0%9F%91%8D", ""),
    ("take a reaction back", "DELETE", "/channels/general/messages/1/reactions/%F0%9F%91%8D", ""),
    ("stop the agent", "POST", "/channels/general/messages/1/reply/cancel", ""),
    ("see who is there", "GET", "/channels/general/presence", ""),
    ("mark as read", "PUT", "/channels/general/read", r#"{"seq":0}"#),
    ("say to be typing", "POST", "/channels/general/typing", "{}"),
    ("get a ticket", "POST", "/connections/tickets", r#"{"channels":["general"]}"#),
    ("renew a token", "POST", "/connections/unknown/token", "{}"),
    // A path without a route.
    ("ask for what is not there", "GET", "/nowhere", ""),
];

fn operation(name: &str) -> (&'static str, &'static str, &'static str) {
    let (_, method, path, body) = OPERATIONS.into_iter().find(|operation| operation.0 == name).unwrap();
    (method, path, body)
}

/// One problem: request, states, and the response's properties besides its status.
struct Case<'a> {
    description: String,
    states: Vec<(&'a str, Value)>,
    request: (&'a str, &'a str, &'a str),
    /// Header of the request.
    asks: Option<(&'a str, &'a str)>,
    has_token: bool,
    status: u16,
    /// Header of the response: a pattern and an example.
    says: Option<(&'a str, &'a str, &'a str)>,
    lists_errors: bool,
    /// Number of characters of each field of the body in the request to Switchboard.
    huge: Option<u16>,
}

impl<'a> Case<'a> {
    fn new(name: &str, status: u16, why: &str, states: Vec<(&'a str, Value)>) -> Self {
        Self {
            description: format!("{name}: {status}, {why}"),
            states,
            request: operation(name),
            asks: None,
            has_token: true,
            status,
            says: None,
            lists_errors: false,
            huge: None,
        }
    }

    /// Returns the problem as the client parses it.
    async fn meet(self) -> switchboard_mobile::Problem {
        let (method, path, body) = self.request;
        let mock = self.mock();
        let token = if self.has_token { "token" } else { "" };
        let api = Api::new(mock.url().as_str(), token).unwrap();
        let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let headers: Vec<_> = self.asks.into_iter().collect();
        match api.call(method, path, &headers, body.as_ref()).await {
            Err(Error::Refused(problem)) => {
                assert_eq!(problem.status, self.status);
                assert_eq!(problem.errors.is_empty(), !self.lists_errors);
                problem
            }
            other => panic!("{}: {other:?}", self.description),
        }
    }

    fn mock(&self) -> Box<dyn ValidatingMockServer> {
        let (method, path, body) = self.request;
        pact()
            .interaction(self.description.as_str(), "", |mut i| {
                given(&mut i, &self.states);
                if self.has_token {
                    i.request.header("authorization", term!("^Bearer .+$", "Bearer token"));
                }
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                i.request.method(method).path(path);
                if let Some((name, value)) = query.split_once('=') {
                    i.request.query_param(name, value);
                }
                if let Some((name, value)) = self.asks {
                    i.request.header(name, value);
                }
                if !body.is_empty() {
                    let body: Value = serde_json::from_str(body).unwrap();
                    i.request.json_body(if self.huge.is_some() { json_pattern!(like!(body)) } else { body.into() });
                }
                if let Some(characters) = self.huge {
                    for field in ["a", "b", "c", "d", "e"] {
                        i.request.body_generator(format!("$.{field}"), Generator::RandomString(characters));
                    }
                }
                i.response.status(self.status).content_type("application/problem+json");
                if let Some((name, pattern, example)) = self.says {
                    i.response.header(name, term!(pattern, example));
                }
                let problem = json_pattern!({
                    "type": "about:blank",
                    "title": like!("A title"),
                    "status": (self.status),
                    "detail": like!("What is wrong, and what to do."),
                    "instance": like!("6b2f6f4e-6c1c-4f37-9d55-1f8c3d9f3a10"),
                });
                let error =
                    json_pattern!({ "field": like!("a"), "code": like!("required"), "message": like!("is required") });
                let errors = json_pattern!(each_like!(error));
                i.response.json_body(if self.lists_errors { with(problem, vec![("errors", errors)]) } else { problem });
                i
            })
            .start_mock_server(None, None)
    }
}

const CHALLENGE: &str = "x-amzn-remapped-www-authenticate";

fn messages() -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": 1 }))
}

fn of_alice() -> (&'static str, Value) {
    ("a channel exists", json!({ "owner": "alice" }))
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPERATIONS
        .into_iter()
        .filter(|(_, _, path, _)| *path != "/nowhere")
        .map(|(name, method, path, _)| (name, method, path))
}

#[tokio::test]
async fn without_a_valid_token() {
    for (name, ..) in operations() {
        let mut case = Case::new(name, 401, "there is no token", Vec::new());
        case.has_token = false;
        case.says = Some((CHALLENGE, "^Bearer.*$", "Bearer"));
        case.meet().await;
    }
    let mut case = Case::new("send", 401, "the token has expired", vec![("the token has expired", none())]);
    case.says = Some((CHALLENGE, ".*invalid_token.*", "Bearer error=\"invalid_token\""));
    let problem = case.meet().await;
    assert!(Error::Refused(problem).needs_another_token());
}

#[tokio::test]
async fn without_the_scope() {
    for (name, method, path) in operations() {
        let has = if method == "GET" || path.starts_with("/connections") { "chat:manage" } else { "chat:read" };
        let mut case = Case::new(
            name,
            403,
            "the token lacks the scope",
            vec![("the token has the scopes", json!({ "scopes": has }))],
        );
        case.says =
            Some((CHALLENGE, ".*insufficient_scope.*", "Bearer error=\"insufficient_scope\", scope=\"chat:write\""));
        case.meet().await;
    }
    Case::new("change a channel", 403, "the user is no owner", vec![("a user is a member", none())]).meet().await;
}

#[tokio::test]
async fn what_makes_no_sense() {
    for (name, _, path) in operations() {
        let mut case = Case::new(name, 400, "the request breaks a rule", vec![("nothing exists", none())]);
        let wrong = path.replace("/general", "/no~id");
        case.request = match name {
            "list channels" => ("GET", "/channels?limit=0", ""),
            "create a channel" => ("POST", "/channels", r#"{"name":""}"#),
            "get a ticket" | "renew a token" => (case.request.0, case.request.1, r#"{"unknown":1}"#),
            _ => (case.request.0, wrong.as_str(), case.request.2),
        };
        case.lists_errors = true;
        assert!(!case.meet().await.errors[0].message.is_empty());
    }
    let mut case = Case::new("send", 400, "the content is empty", vec![("a channel exists", none())]);
    case.request.2 = r#"{"content":""}"#;
    case.lists_errors = true;
    case.meet().await;
}

#[tokio::test]
async fn what_is_not_there() {
    for (name, _, path) in operations().filter(|(.., path)| *path != "/channels") {
        let problem = Case::new(name, 404, "nothing exists", vec![("nothing exists", none())]).meet().await;
        assert!(!Error::Refused(problem).is_transient(), "{path}");
    }
    let private = ("a channel exists", json!({ "visibility": "private" }));
    Case::new("read history", 404, "the channel is private to others", vec![private]).meet().await;
    Case::new("ask for what is not there", 404, "there is no such path", Vec::new()).meet().await;
    let mut case = Case::new("list channels", 405, "there is no such method", Vec::new());
    case.request.0 = "DELETE";
    case.says = Some(("allow", "^[A-Z]+$", "GET, POST, OPTIONS"));
    case.meet().await;
}

#[tokio::test]
async fn what_stands_against_it() {
    let archived = || ("the channel is archived", none());
    for (name, _, path) in operations().filter(|(_, method, path)| *method != "GET" && path.starts_with("/channels")) {
        let (why, states) = match name {
            "create a channel" => ("the id is taken", vec![of_alice()]),
            "leave" => ("the last owner stays", vec![of_alice()]),
            "delete a channel" | "mark as read" => continue,
            _ if path.contains("/messages/1") => ("the channel is archived", vec![messages(), archived()]),
            _ => ("the channel is archived", vec![of_alice(), archived()]),
        };
        Case::new(name, 409, why, states).meet().await;
    }
    for name in ["change a channel", "delete a channel"] {
        let mut case =
            Case::new(name, 412, "somebody was faster", vec![of_alice(), ("the channel was changed", none())]);
        case.asks = Some(("if-match", "\"1\""));
        case.meet().await;
    }
    for (name, path, body) in [
        ("send", "/channels/general/messages", json!({ "content": "something else" })),
        ("create a channel", "/channels", json!({ "channel_id": "general", "name": "Else", "visibility": "public" })),
    ] {
        let before = ("the request was sent before", json!({ "path": path, "key": "one", "body": body }));
        let states = if name == "send" { vec![of_alice(), before] } else { vec![before] };
        let mut case = Case::new(name, 422, "the key was used for another request", states);
        case.asks = Some(("idempotency-key", "one"));
        case.meet().await;
    }
}

#[tokio::test]
async fn what_is_too_large() {
    for (name, ..) in operations().filter(|(name, ..)| !operation(name).2.is_empty()) {
        let mut case = Case::new(name, 413, "the body is too large", vec![of_alice(), messages()]);
        case.request.2 = r#"{"a":"x","b":"x","c":"x","d":"x","e":"x"}"#;
        // Five of them exceed the 262,144 bytes that a body may have.
        case.huge = Some(60_000);
        case.meet().await;
    }
}

#[tokio::test]
async fn what_is_too_often() {
    for (name, _, path) in operations() {
        let action = match name {
            "say to be typing" => "type",
            "get a ticket" => "connect",
            "create a channel" => "create",
            "join" => "add-member",
            "change a channel" | "delete a channel" | "leave" => "change",
            "see who is there" => "presence",
            "renew a token" => "renew",
            "mark as read" => "read",
            "send" => "send",
            _ if path.contains("/messages/1") && !operation(name).0.contains("GET") => "send",
            _ => continue,
        };
        let often = ("the caller does this too often", json!({ "action": action }));
        let mut case = Case::new(name, 429, "too often", vec![messages(), often]);
        case.says = Some(("retry-after", "^[1-9][0-9]*$", "30"));
        let problem = case.meet().await;
        assert_eq!(problem.retry_after, Some(Duration::from_secs(30)));
        assert!(Error::Refused(problem).is_transient());
    }
}

#[tokio::test]
async fn what_fails_on_the_other_side() {
    for (name, ..) in operations() {
        let silent = ("the keys of the token's issuer cannot be had", none());
        let mut case = Case::new(name, 503, "the token cannot be verified", vec![silent]);
        case.says = Some(("retry-after", "^[1-9][0-9]*$", "5"));
        assert!(Error::Refused(case.meet().await).is_transient());
    }
    let broken = vec![messages(), ("a stored message cannot be read", none())];
    let problem = Case::new("read a message", 500, "the store is broken", broken).meet().await;
    assert!(Error::Refused(problem).is_transient());
}
