//! Reserved user names, invalid ids and the end of tokens, each tried as an attack on the running stack.

use std::io::{Read, Write};

use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::{
    attacks::routes,
    issuers::{ALL, of_tenant, with_tenants},
    stack::{Stack, answered, claims_of, signed, token_of, until},
};

/// Returns a token of the local run's issuer with one changed claim.
fn with(name: &str, value: Value) -> String {
    let mut claims = claims_of("alice", 600);
    claims[name] = value;
    signed(&claims, DEVELOPMENT_SECRET)
}

/// Returns the statuses of handshakes with `token` in each of the three places; 101 means an open socket.
async fn handshakes(stack: &Stack, token: &str) -> Vec<u16> {
    let (header, pair) = (format!("Bearer {token}"), format!("bearer, {token}"));
    let socket = stack.address("websocket");
    let tries: [(String, Vec<(&'static str, &str)>); 3] = [
        (format!("{socket}/?channels=room"), vec![("authorization", &header)]),
        (format!("{socket}/?channels=room"), vec![("sec-websocket-protocol", &pair)]),
        (format!("{socket}/?channels=room&token={token}"), vec![]),
    ];
    let mut statuses = Vec::new();
    for (url, headers) in tries {
        let outcome = stack.handshake(&url, &headers).await;
        statuses.push(outcome.err().map_or(101, |status| status.as_u16()));
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_the_agent_or_the_system() {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("log");
    let stack = Stack::logging(&[("AgentName", "jarvis"), ("TokenInUrl", "true")], &log);
    let me = stack.ask("alice", Method::GET, "/me", Value::Null).await.1;
    assert_eq!(me["agent_name"], "jarvis");
    stack.create_channel("alice", "room", "public", "always").await;
    stack.send("alice", "room", "hello").await;
    until("the agent's reply", async || stack.history("alice", "room").await.len() == 2).await;
    let before = stack.history("alice", "room").await;
    assert_eq!((&before[1]["sender_id"], &before[1]["role"]), (&json!("agent"), &json!("agent")));

    for name in ["agent", "system", "Agent", "SYSTEM", "jarvis", "Jarvis"] {
        let token = with("sub", json!(name));
        for (method, path) in routes() {
            let (status, problem) = answered(stack.bearing(&token, method.clone(), &path)).await;
            assert_eq!(status, 401, "{name}: {method} {path}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("claim sub must not be a name of the system"), "{detail}");
        }
        // Attempts of such a caller: to change the agent's messages, and to suppress its next ones.
        let reply = "/channels/room/messages/2";
        let edit = stack.bearing(&token, Method::PATCH, reply).json(&json!({ "content": "forged" }));
        assert_eq!(answered(edit).await.0, 401);
        let send = stack.bearing(&token, Method::POST, "/channels/room/messages").json(&json!({ "content": "forged" }));
        assert_eq!(answered(send.header("idempotency-key", "reply:3")).await.0, 401);
        assert_eq!(handshakes(&stack, &token).await, [401, 401, 401], "{name}");
        for (owner, role) in [("alice", Value::Null), ("alice", json!({ "role": "owner" })), ("bob", Value::Null)] {
            let path = format!("/channels/room/members/{name}");
            let (status, problem) = stack.ask(owner, Method::PUT, &path, role).await;
            assert_eq!((status, &problem["errors"][0]["code"]), (400, &json!("reserved")), "{name} by {owner}");
        }
        let removed = stack.ask("alice", Method::DELETE, &format!("/channels/room/members/{name}"), Value::Null).await;
        assert_eq!(removed.0, 404, "{name} is no member");
    }

    // The attempts had no effect, and the agent continues.
    assert_eq!(stack.history("alice", "room").await, before);
    let members = stack.ask("alice", Method::GET, "/channels/room/members", Value::Null).await.1;
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    stack.send("alice", "room", "are you there?").await;
    until("the next reply", async || stack.history("alice", "room").await.len() == 4).await;
    let last = stack.history("alice", "room").await;
    assert_eq!((&last[3]["role"], &last[3]["reply_to"]), (&json!("agent"), &json!(3)));
    // A function's output reaches the log after its response.
    until("the log has the refusals", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("token refused") && said.contains("its claim sub must not be a name of the system")
    })
    .await;
}

/// Sends a request line unchanged, because clients normalize paths. Returns the status of the response.
fn raw(stack: &Stack, method: &str, path: &str) -> u16 {
    let address = stack.address("rest").trim_start_matches("http://").to_owned();
    let mut connection = std::net::TcpStream::connect(&address).unwrap();
    let token = token_of("alice");
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_segment_is_no_id_wherever_an_id_comes_in() {
    let stack = with_tenants();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    for dots in [".", ".."] {
        let body = json!({ "channel_id": dots, "name": "x", "visibility": "public" });
        let (status, problem) = stack.ask("alice", Method::POST, "/channels", body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("channel_id")), "{problem}");
        let tickets = stack.ask("alice", Method::POST, "/connections/tickets", json!({ "channels": [dots] })).await;
        assert_eq!(tickets.0, 400, "{dots} in a list");
        for path in [format!("/channels?cursor={dots}"), format!("/channels/room/members?cursor={dots}")] {
            assert_eq!(stack.ask("alice", Method::GET, &path, Value::Null).await.0, 400, "{path}");
        }
        let asked = stack.connect(&token_of("alice"), &format!("?channels=room,{dots}")).await;
        assert_eq!(asked.err(), Some(StatusCode::BAD_REQUEST), "{dots} in the query of a handshake");
        // Claims: the user, the tenant, and the channels.
        let mut of_nobody = claims_of(dots, 600);
        for token in [
            signed(&of_nobody, DEVELOPMENT_SECRET),
            of_tenant("alice", dots, ALL),
            of_tenant(dots, "acme", ALL),
            with("channels", json!([dots])),
            with("channels", json!(format!("room {dots}"))),
        ] {
            let (status, problem) = answered(stack.bearing(&token, Method::GET, "/channels/room")).await;
            assert_eq!(status, 401, "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains("must not be '.' or '..'"), "{problem}");
            assert_eq!(handshakes(&stack, &token).await, [401, 401, 401]);
        }
        // The valid counterpart.
        of_nobody["sub"] = json!("...");
        let twin = signed(&of_nobody, DEVELOPMENT_SECRET);
        assert_eq!(answered(stack.bearing(&twin, Method::GET, "/channels/room")).await.0, 200);
        assert_eq!(handshakes(&stack, &twin).await, [101, 101, 101]);
    }

    // In the path, as sent, encoded once, twice and three times.
    for dots in [".", "..", "%2e", "%2E%2E", ".%2e", "%2E.", "%252e", "%252e%252E", "%25252e%25252e"] {
        for (method, path) in [
            ("GET", format!("/channels/{dots}")),
            ("GET", format!("/channels/room/members/{dots}")),
            ("DELETE", format!("/channels/{dots}")),
            ("DELETE", format!("/channels/room/members/{dots}")),
            ("PUT", format!("/channels/room/members/{dots}")),
            ("GET", format!("/channels/{dots}/messages")),
            ("POST", format!("/connections/{dots}/token")),
        ] {
            let status = raw(&stack, method, &path);
            assert!(matches!(status, 400 | 403 | 404), "{method} {path}: {status}");
        }
    }
    assert_eq!(stack.history("alice", "room").await.len(), 1, "the channel and its message are there");
    let members = stack.ask("alice", Method::GET, "/channels/room/members", Value::Null).await.1;
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "and its owner alone is a member");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_its_leeway_opens_nothing_that_would_stay_silent() {
    let stack = Stack::with(&[("TokenInUrl", "true".to_owned())]);
    stack.create_channel("bob", "room", "public", "off").await;
    let good = signed(&claims_of("alice", 600), DEVELOPMENT_SECRET);
    let mut open = stack.connect(&good, "?channels=room").await.unwrap();
    let renewal = format!("/connections/{}/token", open.id().await.replace('=', "%3D"));
    let get = async |token: &str| answered(stack.bearing(token, Method::GET, "/channels/room")).await.0;
    assert_eq!(get(&good).await, 200);
    // Its leeway of a minute runs out, so the request follows at once, and to a function that has started.
    let late = with("exp", json!(jiff::Timestamp::now().as_second() - 5));
    assert_eq!(get(&late).await, 200, "a request is let through, for clocks that differ");

    assert_eq!(handshakes(&stack, &late).await, [401, 401, 401]);
    let ticket = async |token: &str| answered(stack.bearing(token, Method::POST, "/connections/tickets")).await;
    let (status, problem) = ticket(&late).await;
    assert_eq!(status, 401);
    assert!(problem["detail"].as_str().unwrap().contains("has expired"), "{problem}");
    let renewed = answered(stack.bearing(&late, Method::POST, &renewal)).await;
    assert_eq!(renewed.0, 401, "it would end the socket");

    // The valid counterparts: open sockets receive messages.
    assert_eq!(handshakes(&stack, &good).await, [101, 101, 101]);
    let (status, issued) = ticket(&good).await;
    assert_eq!(status, 201);
    let url = format!("{}/?ticket={}", stack.address("websocket"), issued["ticket"].as_str().unwrap());
    // Without channels the socket follows the memberships.
    assert_eq!(stack.ask("alice", Method::PUT, "/channels/room/members/alice", Value::Null).await.0, 201);
    let (mut by_ticket, _) = stack.handshake(&url, &[]).await.unwrap();
    assert_eq!(answered(stack.bearing(&good, Method::POST, &renewal)).await.0, 200);
    stack.send("bob", "room", "for all who are open").await;
    for socket in [&mut open, &mut by_ticket] {
        assert_eq!(socket.messages(1).await[0]["content"], "for all who are open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_read_what_their_tokens_say() {
    let stack = with_tenants();
    let me = async |token: &str| answered(stack.bearing(token, Method::GET, "/me")).await;
    let mut claims = claims_of("alice", 600);
    let (status, own) = me(&signed(&claims, DEVELOPMENT_SECRET)).await;
    assert_eq!((status, &own["user_id"]), (200, &json!("alice")));
    for absent in ["tenant", "scopes", "allowed_channels"] {
        assert_eq!(own.get(absent), None, "{own}");
    }
    let time = |name: &str| own[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires_at").as_second(), claims["exp"].as_i64().unwrap());
    assert!(time("server_time") < time("expires_at"));
    assert_eq!((&own["agent_name"], &own["invites"]), (&json!("agent"), &json!(false)));
    let leeway = with("exp", json!(jiff::Timestamp::now().as_second() - 5));
    assert_eq!(me(&leeway).await.0, 200, "in the leeway of requests");

    // No scope is needed, and all of the token's are shown.
    for (scope, scopes) in [("", json!([])), ("openid chat:write", json!(["chat:write", "openid"]))] {
        let (status, own) = me(&of_tenant("alice", "acme", scope)).await;
        assert_eq!((status, &own["tenant"], &own["scopes"]), (200, &json!("acme"), &scopes), "{own}");
    }
    claims["channels"] = json!(["b", "a"]);
    let (_, own) = me(&signed(&claims, DEVELOPMENT_SECRET)).await;
    assert_eq!(own["allowed_channels"], json!(["a", "b"]));
}
