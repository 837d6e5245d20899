//! Authorization: every route, called by each kind of user, on channels of every kind. The expected table is in
//! `docs/reference/authorization.md`; a run prints the actual one.

use std::fmt::Write;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    issuers::{ALL, of_tenant, with_tenants},
    programs::workspace,
    stack::{Stack, token_of},
};

/// Number of channels that are tested concurrently.
const AT_ONCE: usize = 8;

/// Callers. Each is also the id of the user, except the last: a user of another tenant with the member's id.
const CALLERS: [&str; 6] = ["stranger", "removed", "member", "moderator", "owner", OTHER_TENANT];

const OTHER_TENANT: &str = "other tenant";

struct Route {
    name: &'static str,
    method: Method,
    /// `{channel}` and `{caller}` are replaced in each attempt.
    path: &'static str,
    body: Value,
}

fn routes() -> Vec<Route> {
    let route = |name, method, path, body| Route { name, method, path, body };
    let thumb = "/channels/{channel}/messages/1/reactions/%F0%9F%91%8D";
    vec![
        route("read the channel", Method::GET, "/channels/{channel}", Value::Null),
        route("change its settings", Method::PATCH, "/channels/{channel}", json!({ "name": "new" })),
        route("delete it", Method::DELETE, "/channels/{channel}", Value::Null),
        route("list its members", Method::GET, "/channels/{channel}/members", Value::Null),
        route("read a member", Method::GET, "/channels/{channel}/members/target", Value::Null),
        route("join", Method::PUT, "/channels/{channel}/members/{caller}", Value::Null),
        route("add another user", Method::PUT, "/channels/{channel}/members/newcomer", Value::Null),
        route(
            "make a member moderator",
            Method::PUT,
            "/channels/{channel}/members/target",
            json!({ "role": "moderator" }),
        ),
        route("leave", Method::DELETE, "/channels/{channel}/members/{caller}", Value::Null),
        route("remove a member", Method::DELETE, "/channels/{channel}/members/target", Value::Null),
        route("remove an owner", Method::DELETE, "/channels/{channel}/members/second-owner", Value::Null),
        route("send a message", Method::POST, "/channels/{channel}/messages", json!({ "content": "x" })),
        route("read the history", Method::GET, "/channels/{channel}/messages", Value::Null),
        route("read a message", Method::GET, "/channels/{channel}/messages/1", Value::Null),
        route("edit another's message", Method::PATCH, "/channels/{channel}/messages/1", json!({ "content": "y" })),
        route("delete another's message", Method::DELETE, "/channels/{channel}/messages/1", Value::Null),
        route("read a thread", Method::GET, "/channels/{channel}/messages/1/replies", Value::Null),
        route("list the threads", Method::GET, "/channels/{channel}/threads", Value::Null),
        route("read the changes", Method::GET, "/channels/{channel}/changes?after=0", Value::Null),
        route("react to a message", Method::PUT, thumb, Value::Null),
        route("see who is there", Method::GET, "/channels/{channel}/presence", Value::Null),
        route("say to be typing", Method::POST, "/channels/{channel}/typing", Value::Null),
        route("move the read mark", Method::PUT, "/channels/{channel}/read", json!({ "seq": 1 })),
        route("get a ticket for it", Method::POST, "/connections/tickets", json!({ "channels": ["{channel}"] })),
    ]
}

/// Creates a channel with the owner, the callers and `target`, the author of message 1. The caller `removed` is a
/// former member.
async fn prepare(stack: &Stack, channel: &str, visibility: &str, archived: bool, callers: &[&str]) {
    stack.create_channel("owner", channel, visibility, "off").await;
    // The user of the other tenant shares the member's id, but not the membership.
    let others = callers.iter().map(|caller| if *caller == OTHER_TENANT { "member" } else { *caller });
    let others = others.filter(|caller| !matches!(*caller, "stranger" | "owner"));
    for user in others.chain(["target", "second-owner"]) {
        let role = match user {
            "moderator" => "moderator",
            "second-owner" => "owner",
            _ => "member",
        };
        let path = format!("/channels/{channel}/members/{user}");
        let response = stack.request("owner", Method::PUT, &path).json(&json!({ "role": role })).send().await.unwrap();
        assert!(response.status().is_success(), "{path}");
        if user == "removed" {
            let removed = stack.request("owner", Method::DELETE, &path).send().await.unwrap();
            assert!(removed.status().is_success(), "{path}");
        }
    }
    stack.send("target", channel, "x").await;
    if archived {
        let archive = stack.request("owner", Method::PATCH, &format!("/channels/{channel}"));
        assert!(archive.json(&json!({ "archived": true })).send().await.unwrap().status().is_success());
    }
}

async fn attempt(stack: &Stack, route: &Route, caller: &str, channel: &str) -> u16 {
    let user = if caller == OTHER_TENANT { "member" } else { caller };
    let path = route.path.replace("{caller}", user).replace("{channel}", channel);
    let mut request = stack.bearing(&token(caller), route.method.clone(), &path);
    if !route.body.is_null() {
        let body = route.body.to_string().replace("{channel}", channel);
        request = request.header("content-type", "application/json").body(body);
    }
    request.send().await.unwrap().status().as_u16()
}

fn token(caller: &str) -> String {
    if caller == OTHER_TENANT { of_tenant("member", "acme", ALL) } else { token_of(caller) }
}

async fn subscribe(stack: &Stack, caller: &str, channel: &str) -> u16 {
    let url = format!("{}/?channels={channel}", stack.address("websocket"));
    match stack.handshake(&url, &[("authorization", &format!("Bearer {}", token(caller)))]).await {
        Ok(_) => 101,
        Err(status) => status.as_u16(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_table_says() {
    let stack = with_tenants();
    let routes = routes();
    let mut table = String::new();
    for (visibility, archived) in [("public", false), ("private", false), ("public", true), ("private", true)] {
        let kind = if archived { format!("{visibility}, archived") } else { visibility.to_owned() };
        let _ = writeln!(table, "| {kind} | {} |\n| --- |{}", CALLERS.join(" | "), " --- |".repeat(CALLERS.len()));
        // Routes that change nothing share a channel.
        let shared = format!("{visibility}-{archived}");
        prepare(&stack, &shared, visibility, archived, &CALLERS).await;
        let tries = (0..=routes.len()).flat_map(|route| CALLERS.map(|caller| (route, caller)));
        let found: Vec<u16> = stream::iter(tries)
            .map(async |(number, caller)| {
                let Some(route) = routes.get(number) else { return subscribe(&stack, caller, &shared).await };
                if route.method == Method::GET {
                    return attempt(&stack, route, caller, &shared).await;
                }
                let channel = format!("{shared}-{number}-{}", caller.replace(' ', "-"));
                prepare(&stack, &channel, visibility, archived, &[caller]).await;
                attempt(&stack, route, caller, &channel).await
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let names = routes.iter().map(|route| route.name).chain(["subscribe"]);
        for (name, row) in names.zip(found.chunks(CALLERS.len())) {
            let cells: Vec<String> = row.iter().map(u16::to_string).collect();
            let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
        }
        table.push('\n');
    }
    println!("{table}");
    let documented = workspace().join("docs/reference/authorization.md");
    let documented = std::fs::read_to_string(documented).unwrap();
    assert!(documented.trim_end().ends_with(table.trim_end()), "docs/reference/authorization.md differs");
    stack.stop();
}
