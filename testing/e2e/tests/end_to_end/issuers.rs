//! Several issuers: their keys, their tenants, and the limits of their tokens.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use local::token;
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::method};

use crate::stack::{Stack, answered, claims_of, signed, until};

const ACME: &str = "the secret of an issuer that exists in these tests alone";

/// Returns parameters that trust `issuers` in addition to that of the local run.
pub(crate) fn trusting(issuers: &[Value]) -> Vec<(&'static str, String)> {
    let own = json!({ "issuer": token::ISSUER, "audience": token::AUDIENCE, "secret": token::DEVELOPMENT_SECRET });
    let all: Vec<&Value> = std::iter::once(&own).chain(issuers).collect();
    vec![("JwtHs256Secret", String::new()), ("JwtIssuers", json!(all).to_string())]
}

/// Starts a stack that also trusts an issuer whose tokens name tenant and scopes.
pub(crate) fn with_tenants() -> Stack {
    let mut parameters = trusting(&[acme()]);
    parameters.push(("TokenInUrl", "true".to_owned()));
    Stack::with(&parameters)
}

/// Returns an issuer whose tokens name tenant and scopes.
fn acme() -> Value {
    json!({
        "issuer": "https://acme.example", "audience": token::AUDIENCE, "secret": ACME,
        "tenant_claim": "org", "scope_claim": "scope",
    })
}

/// Returns a token of a tenant's user.
pub(crate) fn of_tenant(user: &str, tenant: &str, scope: &str) -> String {
    let mut claims = claims_of(user, 600);
    claims["iss"] = json!("https://acme.example");
    claims["org"] = json!(tenant);
    claims["scope"] = json!(scope);
    signed(&claims, ACME)
}

/// All scopes.
pub(crate) const ALL: &str = "chat:read chat:write chat:manage";

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_nothing_of_one_another() {
    let stack = with_tenants();
    let tokens = [of_tenant("alice", "acme", ALL), of_tenant("alice", "globex", ALL)];
    let room = json!({ "channel_id": "room", "name": "Room", "visibility": "public", "agent": { "mode": "always" } });
    let mut sockets = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let created = answered(stack.bearing(token, Method::POST, "/channels").json(&room)).await;
        assert_eq!(created.0, 201, "the id is free in each");
        sockets.push(stack.connect(token, "?channels=room").await.unwrap());
        let content = json!({ "content": format!("of {number}") });
        let sent = answered(stack.bearing(token, Method::POST, "/channels/room/messages").json(&content)).await;
        assert_eq!((sent.0, &sent.1["seq"], &sent.1["channel_id"]), (201, &json!(1), &json!("room")));
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        // The message, and the agent's reply to it.
        let messages = socket.messages(2).await;
        assert_eq!(messages[0]["content"], format!("of {number}"));
        assert_eq!((&messages[1]["role"], &messages[1]["channel_id"]), (&json!("agent"), &json!("room")));
    }
    // A user with the same name and no tenant.
    let alice = token::mint("alice", token::DEFAULT_TTL, jiff::Timestamp::now()).unwrap();
    for path in ["/channels/room", "/channels/room/messages", "/channels/room/members"] {
        assert_eq!(answered(stack.bearing(&alice, Method::GET, path)).await.0, 404, "{path}");
    }
    assert_eq!(stack.connect(&alice, "?channels=room").await.err(), Some(StatusCode::FORBIDDEN));
    assert_eq!(answered(stack.bearing(&tokens[0], Method::GET, "/channels/lobby")).await.0, 404);
    let id = sockets[0].id().await;
    let path = format!("/connections/{}/token", id.replace('=', "%3D"));
    assert_eq!(answered(stack.bearing(&tokens[1], Method::POST, &path)).await.0, 404);
    assert_eq!(answered(stack.bearing(&tokens[0], Method::POST, &path)).await.0, 200);
    let mut nobody = claims_of("alice", 600);
    nobody["iss"] = json!("https://acme.example");
    let refused = answered(stack.bearing(&signed(&nobody, ACME), Method::GET, "/channels")).await;
    assert_eq!(refused.0, 401, "a token of that issuer without a tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_allow_what_they_name() {
    let stack = with_tenants();
    let all = of_tenant("alice", "acme", ALL);
    let room = json!({ "channel_id": "room", "name": "Room", "visibility": "public", "agent": { "mode": "off" } });
    assert_eq!(answered(stack.bearing(&all, Method::POST, "/channels").json(&room)).await.0, 201);
    let content = json!({ "content": "x" });
    let tries = [
        (Method::GET, "/channels", Value::Null, "chat:read"),
        (Method::GET, "/invitations", Value::Null, "chat:read"),
        (Method::GET, "/channels/room/members/alice", Value::Null, "chat:read"),
        (Method::GET, "/channels/room/messages", Value::Null, "chat:read"),
        (Method::GET, "/channels/room/presence", Value::Null, "chat:read"),
        (Method::POST, "/connections/tickets", Value::Null, "chat:read"),
        (Method::POST, "/channels/room/messages", content, "chat:write"),
        (Method::PUT, "/channels/room/messages/1/reactions/%F0%9F%91%8D", Value::Null, "chat:write"),
        (Method::PUT, "/channels/room/read", json!({ "seq": 1 }), "chat:write"),
        (Method::POST, "/channels/room/typing", Value::Null, "chat:write"),
        (Method::PATCH, "/channels/room", json!({ "name": "New" }), "chat:manage"),
        (Method::PUT, "/channels/room/members/bob", Value::Null, "chat:manage"),
        (Method::DELETE, "/channels/room/members/bob", Value::Null, "chat:manage"),
    ];
    for (method, path, body, needed) in tries {
        for scope in ["chat:read", "chat:write", "chat:manage", "", "chat:readx openid"] {
            let mut request = stack.bearing(&of_tenant("alice", "acme", scope), method.clone(), path);
            if !body.is_null() {
                request = request.json(&body);
            }
            let response = request.send().await.unwrap();
            if scope == needed {
                assert!(response.status().is_success(), "{method} {path} with {scope}: {}", response.status());
            } else {
                assert_eq!(response.status(), StatusCode::FORBIDDEN, "{method} {path} with {scope}");
                let challenge = response.headers()["x-amzn-remapped-www-authenticate"].to_str().unwrap();
                assert!(challenge.contains("insufficient_scope") && challenge.contains(needed), "{challenge}");
                assert_eq!(response.json::<Value>().await.unwrap()["code"], "missing_scope", "{method} {path}");
            }
        }
    }
    // A response shows no message to a token that may not read messages.
    for (scope, shown) in [("chat:manage", None), ("chat:manage chat:read", Some("x"))] {
        let change = stack.bearing(&of_tenant("alice", "acme", scope), Method::PATCH, "/channels/room");
        let (status, changed) = answered(change.json(&json!({ "name": scope }))).await;
        assert_eq!((status, changed["last_message"]["content"].as_str()), (200, shown), "{changed}");
    }
    for (scope, expected) in [("chat:write", Some(StatusCode::FORBIDDEN)), ("chat:read", None)] {
        let token = of_tenant("alice", "acme", scope);
        assert_eq!(stack.connect(&token, "?channels=room").await.err(), expected, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_limited_to_channels() {
    let stack = Stack::in_memory();
    for channel in ["one", "two", "three"] {
        stack.create_channel("alice", channel, "public", "off").await;
    }
    let limited = |channels: Value| {
        let mut claims = claims_of("alice", 600);
        claims["channels"] = channels;
        signed(&claims, token::DEVELOPMENT_SECRET)
    };
    let token = limited(json!(["one", "two"]));
    let get = async |path: &str| answered(stack.bearing(&token, Method::GET, path)).await;
    for (channel, status) in [("one", 200), ("two", 200), ("three", 404)] {
        assert_eq!(get(&format!("/channels/{channel}")).await.0, status);
        assert_eq!(get(&format!("/channels/{channel}/messages")).await.0, status);
        let url = format!("?channels={channel}");
        assert_eq!(stack.connect(&token, &url).await.is_ok(), status == 200, "{channel}");
    }
    for list in ["/channels", "/channels?visibility=public"] {
        let mut ids: Vec<String> = get(list).await.1["channels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|channel| channel["channel_id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["one", "two"], "{list}");
    }
    for body in [
        json!({ "name": "X", "visibility": "public" }),
        json!({ "channel_id": "four", "name": "X", "visibility": "public" }),
    ] {
        let (status, problem) = answered(stack.bearing(&token, Method::POST, "/channels").json(&body)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("channel_not_allowed")), "{body}");
    }
    let ticket = |channels: Value| {
        answered(stack.bearing(&token, Method::POST, "/connections/tickets").json(&json!({ "channels": channels })))
    };
    assert_eq!(ticket(json!(["one"])).await.0, 201);
    assert_eq!(ticket(json!(["one", "three"])).await.0, 404);

    // A socket that follows the memberships stays within the limit of its token.
    let mut socket = stack.connect(&token, "").await.unwrap();
    stack.create_channel("bob", "four", "private", "off").await;
    let joined = stack.ask("bob", Method::PUT, "/channels/four/members/alice", Value::Null).await;
    assert_eq!(joined.0, 201);
    for channel in ["four", "three", "two"] {
        stack.send("bob", channel, "hello").await;
    }
    assert_eq!(socket.messages(1).await[0]["channel_id"], "two");
    let nothing = limited(json!([]));
    assert_eq!(answered(stack.bearing(&nothing, Method::GET, "/channels")).await.1["channels"], json!([]));
}

fn rsa(name: &str) -> EncodingKey {
    EncodingKey::from_rsa_pem(match name {
        "a" => include_bytes!("../../../../crates/auth/src/tests/keys/rsa-a.pem"),
        _ => include_bytes!("../../../../crates/auth/src/tests/keys/rsa-b.pem"),
    })
    .unwrap()
}

const KEYS: &str = "https://keys.example";

/// Returns an issuer whose keys are at `url`.
fn with_keys_at(url: &str) -> Value {
    json!({ "issuer": KEYS, "audience": token::AUDIENCE, "jwks_url": url, "algorithms": ["RS256"] })
}

fn rs256(kid: &str, user: &str) -> String {
    lasting(kid, user, 3_600)
}

/// Returns a token that ends in `seconds`, signed with the key `a` or `b` under the name `kid`.
fn lasting(kid: &str, user: &str, seconds: i64) -> String {
    let mut claims = claims_of(user, seconds);
    claims["iss"] = json!(KEYS);
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
    jsonwebtoken::encode(&header, &claims, &rsa(kid)).unwrap()
}

async fn serve(server: &MockServer, kids: &[&str]) {
    serve_after(server, kids, Duration::ZERO).await;
}

/// Serves the keys with a delay. Each environment fetches them itself, and one that waits gives its turn to another. So
/// a delay lets a burst reach all of them.
async fn serve_after(server: &MockServer, kids: &[&str], delay: Duration) {
    let keys: Vec<Value> = kids
        .iter()
        .map(|kid| {
            let mut key = serde_json::to_value(Jwk::from_encoding_key(&rsa(kid), Algorithm::RS256).unwrap()).unwrap();
            key["kid"] = json!(kid);
            key
        })
        .collect();
    server.reset().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({ "keys": keys })).set_delay(delay);
    Mock::given(method("GET")).respond_with(answer).mount(server).await;
}

/// Starts the maximum number of environments of a route's function, with tokens that need no key. Without it, a fetch
/// of a key could take longer than its time-out while all of them start.
async fn warm(stack: &Stack, method: &Method, path: &str) {
    let expired = lasting("a", "mallory", -600);
    let requests = (0..BURST).map(async |_| answered(stack.bearing(&expired, method.clone(), path)).await.0);
    assert_eq!(join_all(requests).await, vec![401; BURST]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_their_server_dies_while_sixteen_clients_send() {
    let server = MockServer::start().await;
    serve(&server, &["a"]).await;
    let stack = &Stack::with(&trusting(&[with_keys_at(&server.uri())]));
    let (sent, unavailable) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let load = async |kid: &'static str| {
        stream::iter(0..64)
            .for_each_concurrent(16, async |number| {
                let token = rs256(kid, &format!("user{}", number % 16));
                // One channel each, so that the test covers the keys and not the races.
                let path = format!("/channels/room{}/messages", number % 16);
                let body = json!({ "content": kid });
                // An environment that has just fetched the set requests a new key within ten seconds.
                until("the key is accepted", async || {
                    let (status, problem) = answered(stack.bearing(&token, Method::POST, &path).json(&body)).await;
                    // A fetch that takes longer than three seconds has failed, and its request with it.
                    assert!(matches!(status, 201 | 401 | 503), "{problem}");
                    unavailable.fetch_add(usize::from(status == 503), Ordering::Relaxed);
                    status == 201
                })
                .await;
                sent.fetch_add(1, Ordering::Relaxed);
            })
            .await;
    };
    for number in 0..16 {
        stack.create_channel("alice", &format!("room{number}"), "public", "off").await;
    }
    warm(stack, &Method::POST, "/channels/room0/messages").await;
    // Fetches that did not fail, and environments.
    let counts = async || {
        let fetches = server.received_requests().await.unwrap().len();
        (fetches.saturating_sub(unavailable.swap(0, Ordering::Relaxed)), stack.environments("send-channel"))
    };
    load("a").await;
    let (fetches, started) = counts().await;
    assert!(fetches <= started, "{fetches}: one for each of {started} environments");

    // Both keys for a while, as issuers rotate; then the old one is removed.
    serve(&server, &["a", "b"]).await;
    futures::future::join(load("a"), load("b")).await;
    serve(&server, &["b"]).await;
    unavailable.store(0, Ordering::Relaxed);
    load("b").await;
    let (fetches, started) = counts().await;
    assert!(fetches <= started, "{fetches} by {started}: no environment fetches a known key again");

    // Warm environments continue without the server.
    server.reset().await;
    let dead = |_: &Request| ResponseTemplate::new(500);
    Mock::given(method("GET")).respond_with(dead).mount(&server).await;
    for _ in 0..32 {
        let body = json!({ "content": "alone" });
        let request = stack.bearing(&rs256("b", "user"), Method::POST, "/channels/room0/messages").json(&body);
        assert_eq!(answered(request).await.0, 201);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    println!("{} messages, {started} environments", sent.load(Ordering::Relaxed));
}

/// Number of tokens of one burst.
const BURST: usize = 400;

/// Minimum interval between two fetches of one environment in seconds, as documented in
/// `docs/reference/authorization.md`.
const INTERVAL: u64 = 10;

/// Sends a burst at once, and requests of a user with a valid token one after another. Returns the statuses of the
/// burst, the number of the user's requests, and the duration of the burst.
async fn burst(stack: &Stack, tokens: &[String]) -> (Vec<u16>, usize, Duration) {
    let began = Instant::now();
    let all = join_all(tokens.iter().map(async |token| {
        let response = stack.bearing(token, Method::GET, "/channels/room").send().await.unwrap();
        response.status().as_u16()
    }));
    let mut all = std::pin::pin!(all);
    let valid = rs256("a", "alice");
    let mut answers = 0;
    loop {
        let request = async { answered(stack.bearing(&valid, Method::GET, "/channels/room")).await.0 };
        let mut request = std::pin::pin!(request);
        tokio::select! {
            statuses = &mut all => {
                assert_eq!(request.await, 200);
                return (statuses, answers + 1, began.elapsed());
            }
            status = &mut request => assert_eq!(status, 200),
        }
        answers += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_made_up_kids_hold_nobody_up() {
    let server = MockServer::start().await;
    serve(&server, &["a"]).await;
    let stack = Stack::with(&trusting(&[with_keys_at(&server.uri())]));
    stack.create_channel("alice", "room", "public", "off").await;
    let started = Instant::now();
    let made_up: Vec<String> = (0..BURST).map(|number| rs256(&format!("made-up-{number}"), "mallory")).collect();
    let expired: Vec<String> =
        (0..BURST).map(|number| lasting(&format!("made-up-{number}"), "mallory", -600)).collect();
    warm(&stack, &Method::GET, "/channels/room").await;
    burst(&stack, &expired).await;
    let mut took = Vec::new();
    for round in 0..3 {
        let (refused, beside, cheapest) = burst(&stack, &expired).await;
        assert_eq!(refused, vec![401; BURST], "round {round}");
        println!("expired: {cheapest:?}, {beside} good requests beside");
        let (statuses, beside, dearest) = burst(&stack, &made_up).await;
        assert_eq!(statuses, vec![401; BURST], "round {round}");
        println!("made-up kids: {dearest:?}, {beside} good requests beside");
        took.push((dearest, cheapest));
    }
    // Other processes of the machine slow down a burst at times, but not in every round.
    let is_cheap = took.iter().any(|(dearest, cheapest)| *dearest < 5 * *cheapest);
    assert!(is_cheap, "for made-up kids, and for what needs no key at all: {took:?}");
    let environments = stack.environments("channels");
    let intervals = usize::try_from(started.elapsed().as_secs() / INTERVAL).unwrap() + 1;
    let fetches = server.received_requests().await.unwrap().len();
    println!("{fetches} fetches by {environments} environments in {intervals} intervals");
    assert!(fetches >= 1 && fetches <= environments * intervals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_server_that_hangs_holds_nobody_whose_key_is_known() {
    let server = MockServer::start().await;
    serve_after(&server, &["a"], Duration::from_millis(500)).await;
    let stack = Stack::with(&trusting(&[with_keys_at(&server.uri())]));
    stack.create_channel("alice", "room", "public", "off").await;
    let good: Vec<String> = (0..BURST).map(|_| rs256("a", "bob")).collect();
    warm(&stack, &Method::GET, "/channels/room").await;
    // An environment that starts late has no request of the first burst.
    until("every environment has the key", async || {
        let (statuses, ..) = burst(&stack, &good).await;
        assert_eq!(statuses, vec![200; BURST]);
        server.received_requests().await.unwrap().len() >= stack.environments("channels")
    })
    .await;
    server.reset().await;
    let hangs = ResponseTemplate::new(200).set_delay(Duration::from_mins(10));
    Mock::given(method("GET")).respond_with(hangs).mount(&server).await;
    let made_up: Vec<String> = (0..BURST).map(|number| rs256(&format!("made-up-{number}"), "mallory")).collect();
    let (statuses, _, took) = burst(&stack, &made_up).await;
    let fetches = server.received_requests().await.unwrap().len();
    let unanswered = statuses.iter().filter(|status| **status == 503).count();
    let refused = statuses.iter().filter(|status| **status == 401).count();
    println!("{refused} refused, {unanswered} unanswered, {fetches} fetches that hang");
    assert_eq!(refused + unanswered, BURST, "{statuses:?}");
    // Only an environment whose interval was over fetched the set. A hanging fetch takes three seconds.
    let environments = stack.environments("channels");
    let rounds = usize::try_from(took.as_secs() / 3).unwrap() + 1;
    assert!(fetches <= environments * rounds, "{fetches} fetches of {environments} environments in {took:?}");
    assert!(unanswered == 0 || fetches > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_allows_to_add_members_without_asking_where_the_deployment_says_so() {
    for (additions, without, with) in [("everybody", 201, 201), ("scope", 202, 201), ("nobody", 202, 202)] {
        let parameters = [trusting(&[acme()]), vec![("MemberAdditions", additions.to_owned())]].concat();
        let stack = Stack::with(&parameters);
        let tokens = [ALL.to_owned(), format!("{ALL} chat:add")].map(|scope| of_tenant("alice", "acme", &scope));
        let room = json!({ "channel_id": "room", "name": "Room", "visibility": "private" });
        assert_eq!(answered(stack.bearing(&tokens[0], Method::POST, "/channels").json(&room)).await.0, 201);
        for ((token, user), expected) in tokens.iter().zip(["bob", "carol"]).zip([without, with]) {
            let path = format!("/channels/room/members/{user}");
            let (status, answer) = answered(stack.bearing(token, Method::PUT, &path)).await;
            assert_eq!(status, expected, "{additions}: {answer}");
            let by = if expected == 201 { &answer["added_by"] } else { &answer["invited_by"] };
            assert_eq!(by, "alice", "{additions}: {answer}");
            let (_, me) = answered(stack.bearing(token, Method::GET, "/me")).await;
            assert_eq!(me["invites"], json!(expected == 202), "{additions}: {me}");
        }
    }
}
