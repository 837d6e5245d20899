//! Every error response of every operation, as the client parses it.

use std::time::Duration;

use pact_consumer::mock_server::ValidatingMockServer;
use pact_models::generators::Generator;
use reqwest::Method;
use switchboard_client::Error;

use super::*;

/// One request of each operation, which succeeds if its objects exist.
const OPERATIONS: [(&str, &str, &str, &str); 30] = [
    ("see who the user is", "GET", "/me", ""),
    ("list channels", "GET", "/channels", ""),
    ("list invitations", "GET", "/invitations", ""),
    ("create a channel", "POST", "/channels", r#"{"channel_id":"general","name":"General","visibility":"public"}"#),
    ("read a channel", "GET", "/channels/general", ""),
    ("change a channel", "PATCH", "/channels/general", r#"{"name":"Everybody"}"#),
    ("delete a channel", "DELETE", "/channels/general", ""),
    ("list members", "GET", "/channels/general/members", ""),
    ("read a member", "GET", "/channels/general/members/alice", ""),
    ("join", "PUT", "/channels/general/members/alice", "{}"),
    ("leave", "DELETE", "/channels/general/members/alice", ""),
    ("read history", "GET", "/channels/general/messages", ""),
    ("read changes", "GET", "/channels/general/changes?after=0", ""),
    ("send", "POST", "/channels/general/messages", r#"{"content":"hi"}"#),
    ("read a message", "GET", "/channels/general/messages/1", ""),
    ("edit", "PATCH", "/channels/general/messages/1", r#"{"content":"better"}"#),
    ("delete a message", "DELETE", "/channels/general/messages/1", ""),
    ("read a thread", "GET", "/channels/general/messages/1/replies", ""),
    ("list threads", "GET", "/channels/general/threads", ""),
    ("list reactions", "GET", "/channels/general/messages/1/reactions", ""),
    ("react", "PUT", "/channels/general/messages/1/reactions/%F0%9F%91%8D", ""),
    ("take a reaction back", "DELETE", "/channels/general/messages/1/reactions/%F0%9F%91%8D", ""),
    ("read a reply", "GET", "/channels/general/messages/1/reply", ""),
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
    code: &'a str,
    /// Headers of the response: patterns and examples.
    says: Vec<(&'a str, &'a str, &'a str)>,
    lists_errors: bool,
    /// Field and code of the only violation, if they matter.
    violation: Option<(&'a str, &'a str)>,
    /// Number of characters of each field of the body in the request to Switchboard.
    huge: Option<u16>,
    /// Whether the body is compared as text, because it is no JSON.
    is_text: bool,
}

impl<'a> Case<'a> {
    fn new(name: &str, status: u16, code: &'a str, why: &str, states: Vec<(&'a str, Value)>) -> Self {
        Self {
            description: format!("{name}: {status}, {why}"),
            states,
            request: operation(name),
            asks: None,
            has_token: true,
            status,
            code,
            says: Vec::new(),
            lists_errors: false,
            violation: None,
            huge: None,
            is_text: false,
        }
    }

    /// Returns the problem as the client parses it.
    async fn meet(self) -> switchboard_client::Problem {
        let (method, path, body) = self.request;
        let mock = self.mock();
        let token = if self.has_token { "token" } else { "" };
        let api = Api::new(mock.url().as_str(), token).unwrap();
        let body = (!body.is_empty()).then_some(body);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let headers: Vec<_> = self.asks.into_iter().collect();
        match api.call(method, path, &headers, body).await {
            Err(Error::Refused(problem)) => {
                assert_eq!((problem.status, problem.code.as_str()), (self.status, self.code));
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
                for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
                    i.request.query_param(name, value);
                }
                if let Some((name, value)) = self.asks {
                    i.request.header(name, value);
                }
                if self.is_text {
                    i.request.body(body);
                } else if !body.is_empty() {
                    let body: Value = serde_json::from_str(body).unwrap();
                    i.request.json_body(if self.huge.is_some() { json_pattern!(like!(body)) } else { body.into() });
                }
                if let Some(characters) = self.huge {
                    for field in ["a", "b", "c", "d", "e"] {
                        i.request.body_generator(format!("$.{field}"), Generator::RandomString(characters));
                    }
                }
                i.response.status(self.status).content_type("application/problem+json");
                for &(name, pattern, example) in &self.says {
                    i.response.header(name, term!(pattern, example));
                }
                let problem = json_pattern!({
                    "type": "about:blank",
                    "title": like!("A title"),
                    "status": (self.status),
                    "code": (self.code),
                    "detail": like!("What is wrong, and what to do."),
                    "instance": like!("6b2f6f4e-6c1c-4f37-9d55-1f8c3d9f3a10"),
                });
                let errors = match self.violation {
                    Some((field, code)) => {
                        json_pattern!([{ "field": (field), "code": (code), "message": like!("is required") }])
                    }
                    None => json_pattern!(each_like!({
                        "field": like!("a"), "code": like!("required"), "message": like!("is required"),
                    })),
                };
                i.response.json_body(if self.lists_errors { with(problem, vec![("errors", errors)]) } else { problem });
                i
            })
            .start_mock_server(None, None)
    }
}

const CHALLENGE: &str = "x-amzn-remapped-www-authenticate";
const INVALID_TOKEN: (&str, &str, &str) = (CHALLENGE, ".*invalid_token.*", "Bearer error=\"invalid_token\"");

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
        let mut case = Case::new(name, 401, "missing_token", "there is no token", Vec::new());
        case.has_token = false;
        case.says.push((CHALLENGE, "^Bearer.*$", "Bearer"));
        case.meet().await;
    }
    for (code, why, state) in [
        ("token_expired", "the token has expired", "the token has expired"),
        ("token_not_yet_valid", "the token is not valid yet", "the token is not valid yet"),
        ("invalid_token", "the token is not signed by its issuer", "the token is not signed by its issuer"),
    ] {
        let mut case = Case::new("send", 401, code, why, vec![(state, none())]);
        case.says.push(INVALID_TOKEN);
        let problem = case.meet().await;
        assert!(Error::Refused(problem).needs_another_token());
    }
}

#[tokio::test]
async fn without_the_permission() {
    // Each valid token may ask whose it is.
    for (name, method, path) in operations().filter(|(.., path)| *path != "/me") {
        let has = if method == "GET" || path.starts_with("/connections") { "chat:manage" } else { "chat:read" };
        let states = vec![("the token has the scopes", json!({ "scopes": has }))];
        let mut case = Case::new(name, 403, "missing_scope", "the token lacks the scope", states);
        let example = "Bearer error=\"insufficient_scope\", scope=\"chat:write\"";
        case.says.push((CHALLENGE, ".*insufficient_scope.*", example));
        case.meet().await;
    }
    let member = vec![("a user is a member", none())];
    Case::new("change a channel", 403, "not_permitted", "the user is no owner", member).meet().await;
    let stranger = vec![("a channel exists", none())];
    Case::new("mark as read", 403, "not_a_member", "the user is no member", stranger).meet().await;
    let limited = vec![("the token is limited to channels", json!({ "channels": "another" }))];
    Case::new("create a channel", 403, "channel_not_allowed", "the token is for other channels", limited).meet().await;
}

#[tokio::test]
async fn what_makes_no_sense() {
    for (name, _, path) in operations() {
        let mut case =
            Case::new(name, 400, "invalid_request", "the request breaks a rule", vec![("nothing exists", none())]);
        let wrong = path.replace("/general", "/no~id");
        case.request = match name {
            "see who the user is" => ("GET", "/me?unknown=1", ""),
            "list channels" => ("GET", "/channels?limit=0", ""),
            "list invitations" => ("GET", "/invitations?limit=0", ""),
            "create a channel" => ("POST", "/channels", r#"{"name":""}"#),
            "get a ticket" | "renew a token" => (case.request.0, case.request.1, r#"{"unknown":1}"#),
            _ => (case.request.0, wrong.as_str(), case.request.2),
        };
        case.lists_errors = true;
        assert!(!case.meet().await.errors[0].message.is_empty());
    }
    for (name, why, body) in [
        ("send", "the content is empty", r#"{"content":""}"#),
        ("change a channel", "a name cannot be removed", r#"{"name":null}"#),
    ] {
        let mut case = Case::new(name, 400, "invalid_request", why, vec![of_alice()]);
        case.request.2 = body;
        case.lists_errors = true;
        case.meet().await;
    }
    for (name, why, path, field, code) in [
        ("read history", "the wait is too long", "/channels/general/messages?after=0&wait=20", "wait", "out_of_range"),
        ("read changes", "the wait is too long", "/channels/general/changes?after=0&wait=20", "wait", "out_of_range"),
        ("read history", "a wait needs a position", "/channels/general/messages?wait=1", "wait", "requires_after"),
        ("read changes", "the position is missing", "/channels/general/changes", "after", "required"),
    ] {
        let mut case = Case::new(name, 400, "invalid_request", why, vec![of_alice()]);
        (case.request.1, case.lists_errors, case.violation) = (path, true, Some((field, code)));
        case.meet().await;
    }
    let mut case = Case::new("send", 400, "malformed_request", "the body is no JSON", vec![of_alice()]);
    // This type counts as none.
    (case.request.2, case.asks, case.is_text) = ("hi", Some(("content-type", "text/plain")), true);
    case.meet().await;
    for (name, ..) in operations().filter(|(name, ..)| !operation(name).2.is_empty()) {
        let states = vec![of_alice(), messages(1)];
        let mut case = Case::new(name, 415, "unsupported_media_type", "the body is a table", states);
        (case.request.2, case.asks, case.is_text) = ("hi,there", Some(("content-type", "text/csv")), true);
        case.meet().await;
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let in_channels = |path: &str| path.starts_with("/channels/") || path.starts_with("/connections/");
    for (name, _, path) in operations().filter(|(.., path)| in_channels(path)) {
        let code = if name == "renew a token" { "connection_not_found" } else { "channel_not_found" };
        let problem = Case::new(name, 404, code, "nothing exists", vec![("nothing exists", none())]).meet().await;
        assert!(!Error::Refused(problem).is_transient(), "{path}");
    }
    let private = ("a channel exists", json!({ "visibility": "private" }));
    Case::new("read history", 404, "channel_not_found", "the channel is private to others", vec![private]).meet().await;
    for (name, code, states) in [
        ("read a message", "message_not_found", vec![of_alice()]),
        ("read a member", "member_not_found", vec![("a channel exists", none())]),
        ("stop the agent", "reply_not_found", vec![messages(1)]),
        ("read a reply", "reply_not_found", vec![messages(1)]),
    ] {
        Case::new(name, 404, code, "only this is missing", states).meet().await;
    }
    let deleted = vec![messages(1), ("the message was deleted", none())];
    Case::new("read a reply", 404, "message_not_found", "the question was deleted", deleted).meet().await;
    Case::new("ask for what is not there", 404, "no_such_route", "there is no such path", Vec::new()).meet().await;
    let mut case = Case::new("list channels", 405, "method_not_allowed", "there is no such method", Vec::new());
    case.request.0 = "DELETE";
    case.says.push(("allow", "^[A-Z]+$", "GET, POST, OPTIONS"));
    case.meet().await;
}

#[tokio::test]
async fn what_stands_against_it() {
    let archived = || ("the channel is archived", none());
    for (name, _, path) in operations().filter(|(_, method, path)| *method != "GET" && path.starts_with("/channels")) {
        let (code, why, states) = match name {
            "create a channel" => ("channel_id_taken", "the id is taken", vec![of_alice()]),
            "leave" => ("last_owner", "the last owner stays", vec![of_alice()]),
            "delete a channel" | "mark as read" => continue,
            _ if path.contains("/messages/1") => {
                ("channel_archived", "the channel is archived", vec![messages(1), archived()])
            }
            _ => ("channel_archived", "the channel is archived", vec![of_alice(), archived()]),
        };
        Case::new(name, 409, code, why, states).meet().await;
    }
    let full = vec![messages(1), ("the message has all reactions that it may have", none())];
    Case::new("react", 409, "too_many_reactions", "there are as many as may be", full).meet().await;
    let created = vec![("the caller has created all channels that it may create", none())];
    Case::new("create a channel", 409, "too_many_channels", "there are as many as may be", created).meet().await;
    let mut case = Case::new(
        "join",
        409,
        "too_many_invitations",
        "bob has as many as may be",
        vec![
            of_alice(),
            ("the token has the scopes", json!({ "scopes": "chat:read chat:write chat:manage" })),
            ("a user has all invitations that it may have", none()),
        ],
    );
    case.request.1 = "/channels/general/members/bob";
    case.meet().await;
    let expired = vec![("records of changes have expired", none())];
    let gone = Case::new("read changes", 410, "changes_expired", "they are no longer stored", expired).meet().await;
    assert!(Error::Refused(gone).requires_reload());
    for (name, states) in [
        ("change a channel", vec![of_alice(), ("the channel was changed", none())]),
        ("delete a channel", vec![of_alice(), ("the channel was changed", none())]),
        ("edit", vec![messages(1), ("the message was edited", none())]),
        ("delete a message", vec![messages(1), ("the message was edited", none())]),
    ] {
        let mut case = Case::new(name, 412, "version_mismatch", "somebody was faster", states);
        case.asks = Some(("if-match", "\"1\""));
        assert!(Error::Refused(case.meet().await).is_outdated());
    }
    for (name, path, body) in [
        ("send", "/channels/general/messages", json!({ "content": "something else" })),
        ("create a channel", "/channels", json!({ "channel_id": "general", "name": "Else", "visibility": "public" })),
    ] {
        let before = ("the request was sent before", json!({ "path": path, "key": "one", "body": body }));
        let states = if name == "send" { vec![of_alice(), before] } else { vec![before] };
        let code = "idempotency_key_reused";
        let mut case = Case::new(name, 422, code, "the key was used for another request", states);
        case.asks = Some(("idempotency-key", "one"));
        case.meet().await;
    }
}

#[tokio::test]
async fn what_is_too_large() {
    for (name, ..) in operations().filter(|(name, ..)| !operation(name).2.is_empty()) {
        let states = vec![of_alice(), messages(1)];
        let mut case = Case::new(name, 413, "body_too_large", "the body is too large", states);
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
            "list channels" => "list-channels",
            "renew a token" => "renew",
            "mark as read" => "read",
            "send" => "send",
            "read history" | "read changes" => "wait",
            _ if path.contains("/messages/1") && !operation(name).0.contains("GET") => "send",
            _ => continue,
        };
        let often = ("the caller does this too often", json!({ "action": action }));
        let mut case = Case::new(name, 429, "rate_limited", "too often", vec![messages(1), often]);
        match name {
            "read history" => case.request.1 = "/channels/general/messages?after=0&wait=1",
            "read changes" => case.request.1 = "/channels/general/changes?after=0&wait=1",
            _ => {}
        }
        case.says = vec![
            ("retry-after", "^[1-9][0-9]*$", "30"),
            ("ratelimit", "^\"[a-z-]+\";r=0;t=[0-9]+$", "\"send\";r=0;t=30"),
            ("ratelimit-policy", "^\"[a-z-]+\";q=[0-9]+;w=[0-9]+$", "\"send\";q=50;w=5"),
        ];
        let problem = case.meet().await;
        assert_eq!(problem.retry_after, Some(Duration::from_secs(30)));
        assert!(Error::Refused(problem).is_transient());
    }
}

#[tokio::test]
async fn what_fails_on_the_other_side() {
    let again = ("retry-after", "^[1-9][0-9]*$", "5");
    for (name, ..) in operations() {
        let silent = ("the keys of the token's issuer cannot be had", none());
        let mut case = Case::new(name, 503, "keys_unavailable", "the token cannot be verified", vec![silent]);
        case.says.push(again);
        assert!(Error::Refused(case.meet().await).is_transient());
    }
    let mut case =
        Case::new("send", 503, "channel_busy", "others write", vec![messages(2), ("the channel is busy", none())]);
    case.says.push(again);
    assert!(Error::Refused(case.meet().await).is_transient());
    let broken = vec![messages(1), ("a stored message cannot be read", none())];
    let problem = Case::new("read a message", 500, "internal_error", "the store is broken", broken).meet().await;
    assert!(Error::Refused(problem).is_transient());
}
