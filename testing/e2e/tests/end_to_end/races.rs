//! Two requests that change one thing at the same time: each acknowledged change is there afterwards.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::{join, join_all, join3};
use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{PATIENCE, Stack, answered, claims_of, signed};

/// Pairs of edits of one message.
const PAIRS: usize = 50;
/// Rounds of each other race.
const ROUNDS: usize = 20;
/// Users that react to one message at the same time.
const REACTORS: usize = 16;

const THUMB: &str = "%F0%9F%91%8D";

/// Creates a public channel of alice with a message of bob. Returns the path of the message.
async fn room(stack: &Stack, name: &str) -> String {
    stack.create_channel("alice", name, "public", "off").await;
    stack.send("bob", name, "hello").await;
    format!("/channels/{name}/messages/1")
}

async fn get(stack: &Stack, path: &str) -> Value {
    let (status, found) = stack.ask("alice", Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {found}");
    found
}

/// Sends a request, and returns its status.
async fn status(stack: &Stack, user: &str, method: Method, path: &str, body: Value) -> u16 {
    stack.ask(user, method, path, body).await.0
}

/// Sends a request until it is not refused because it lost each of its races, and returns its status. Nothing was stored
/// before.
async fn insisted(stack: &Stack, user: &str, method: Method, path: &str, body: Value) -> u16 {
    let tried = async {
        loop {
            let (status, problem) = stack.ask(user, method.clone(), path, body.clone()).await;
            if (status, &problem["code"]) != (503, &json!("channel_busy")) {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("a request that loses no race")
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_two_fields_are_both_kept() {
    let stack = Stack::in_memory();
    for pair in 0..PAIRS {
        let message = room(&stack, &format!("room-{pair}")).await;
        let (content, metadata) = (json!(format!("edit {pair}")), json!({ "pair": pair }));
        let statuses = join(
            status(&stack, "bob", Method::PATCH, &message, json!({ "content": content })),
            status(&stack, "bob", Method::PATCH, &message, json!({ "metadata": metadata })),
        )
        .await;
        assert_eq!(statuses, (200, 200), "pair {pair}");
        let found = get(&stack, &message).await;
        assert_eq!((&found["content"], &found["metadata"]), (&content, &metadata), "pair {pair}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_beside_reactions_is_kept_and_so_are_they() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let message = room(&stack, &format!("room-{round}")).await;
        let path = format!("{message}/reactions/{THUMB}");
        let users: Vec<String> = (0..REACTORS).map(|number| format!("user-{number}")).collect();
        let reactions = join_all(users.iter().map(|user| status(&stack, user, Method::PUT, &path, Value::Null)));
        // Each reaction is a race, and there are more of them than an edit has attempts.
        let edit = insisted(&stack, "bob", Method::PATCH, &message, json!({ "content": "better" }));
        let (reacted, edited) = join(reactions, edit).await;
        assert_eq!((edited, reacted), (200, vec![204; REACTORS]), "round {round}");
        let found = get(&stack, &message).await;
        let count = &found["reactions"][0]["count"];
        assert_eq!((&found["content"], count), (&json!("better"), &json!(REACTORS)), "round {round}");
        assert_eq!(found["version"], REACTORS + 2, "round {round}: each change has a version of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_beside_an_edit_and_a_reaction_is_kept() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let message = room(&stack, &format!("room-{round}")).await;
        let reaction = format!("{message}/reactions/{THUMB}");
        let (edited, reacted, deleted) = join3(
            status(&stack, "bob", Method::PATCH, &message, json!({ "content": "better" })),
            status(&stack, "carol", Method::PUT, &reaction, Value::Null),
            status(&stack, "alice", Method::DELETE, &message, Value::Null),
        )
        .await;
        assert_eq!(deleted, 204, "round {round}");
        assert!([200, 404].contains(&edited) && [204, 404].contains(&reacted), "round {round}: {edited} {reacted}");
        let found = get(&stack, &message).await;
        assert!(found["deleted_at"].is_string(), "round {round}: {found}");
        assert_eq!((&found["content"], found.get("reactions")), (&json!(""), None), "round {round}");
        assert_eq!(found.get("edited_at").is_some(), edited == 200, "round {round}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_two_settings_are_both_kept() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    for round in 1..=ROUNDS {
        let name = json!(format!("name {round}"));
        let statuses = join(
            status(&stack, "alice", Method::PATCH, "/channels/room", json!({ "name": name })),
            status(&stack, "alice", Method::PATCH, "/channels/room", json!({ "retention_days": round })),
        )
        .await;
        assert_eq!(statuses, (200, 200), "round {round}");
        let found = get(&stack, "/channels/room").await;
        assert_eq!((&found["name"], &found["retention_days"]), (&name, &json!(round)), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_one_of_those_that_were_acknowledged() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    let (bob, carol) = ("/channels/room/members/bob", "/channels/room/members/carol");
    for path in [bob, carol] {
        assert_eq!(status(&stack, "alice", Method::PUT, path, json!({ "role": "member" })).await, 201);
    }
    for round in 0..ROUNDS {
        let other = if round % 2 == 0 { "owner" } else { "member" };
        let statuses = join3(
            status(&stack, "alice", Method::PUT, bob, json!({ "role": "moderator" })),
            status(&stack, "alice", Method::PUT, bob, json!({ "role": other })),
            status(&stack, "alice", Method::PUT, carol, json!({ "role": other })),
        )
        .await;
        assert_eq!(statuses, (200, 200, 200), "round {round}");
        let found = get(&stack, "/channels/room/members").await;
        let role = |user: &str| {
            let members = found["members"].as_array().unwrap();
            members.iter().find(|one| one["user_id"] == user).unwrap()["role"].clone()
        };
        assert!([json!("moderator"), json!(other)].contains(&role("bob")), "round {round}: {found}");
        assert_eq!(role("carol"), other, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_mark_of_two_devices_is_the_later_one() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    for seq in 1..=2 * ROUNDS {
        stack.send("alice", "room", &format!("message {seq}")).await;
    }
    for round in 1..=ROUNDS {
        let (earlier, later) = (2 * round - 1, 2 * round);
        let statuses = join(
            status(&stack, "alice", Method::PUT, "/channels/room/read", json!({ "seq": later })),
            status(&stack, "alice", Method::PUT, "/channels/room/read", json!({ "seq": earlier })),
        )
        .await;
        assert_eq!(statuses, (200, 200), "round {round}");
        let found = get(&stack, "/channels").await;
        assert_eq!(found["channels"][0]["membership"]["read_seq"], later, "round {round}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_redeemed_twice_at_once_opens_one_socket() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let (status, issued) =
            stack.ask(&format!("user-{round}"), Method::POST, "/connections/tickets", Value::Null).await;
        assert_eq!(status, 201, "{issued}");
        let url = format!("{}/?ticket={}", stack.address("websocket"), issued["ticket"].as_str().unwrap());
        let (one, other) = join(stack.handshake(&url, &[]), stack.handshake(&url, &[])).await;
        let refused: Vec<_> = [one.err(), other.err()].into_iter().flatten().map(|status| status.as_u16()).collect();
        assert_eq!(refused, [401], "round {round}");
    }
}

/// Items of the stack's only connection.
struct Items {
    /// Ends of all of them.
    ends: BTreeSet<String>,
    /// Whether the connection's token is limited to channels.
    is_limited: bool,
    /// Number of the connection's channels.
    channels: usize,
    /// Number of subscriptions.
    subscriptions: usize,
}

fn has(item: &HashMap<String, AttributeValue>, name: &str) -> bool {
    item.contains_key(name)
}

async fn items(stack: &Stack) -> Items {
    let scan = stack.dynamodb().await.scan().table_name("chat_connections").consistent_read(true);
    let found = scan.send().await.unwrap();
    let items: Vec<_> = found.items().iter().filter(|item| has(item, "connected_at")).collect();
    let own = items.iter().find(|item| has(item, "token_expires_at")).unwrap();
    Items {
        ends: items.iter().map(|item| item["expires_at"].as_n().unwrap().clone()).collect(),
        is_limited: has(own, "limited_to"),
        channels: own.get("channels").map_or(0, |channels| channels.as_ss().unwrap().len()),
        subscriptions: items.iter().filter(|item| has(item, "user_id") && !has(item, "token_expires_at")).count(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_renewals_with_different_limits_one_holds_everywhere() {
    let stack = Stack::in_memory();
    for channel in ["one", "two"] {
        stack.create_channel("alice", channel, "private", "off").await;
    }
    let mut socket = stack.connect(&signed(&claims_of("alice", 600), DEVELOPMENT_SECRET), "").await.unwrap();
    let path = format!("/connections/{}/token", socket.id().await.replace('=', "%3D"));
    for round in 0..ROUNDS {
        let mut limited = claims_of("alice", 700);
        limited["channels"] = json!(["one"]);
        let tokens = [limited, claims_of("alice", 900)].map(|claims| signed(&claims, DEVELOPMENT_SECRET));
        let renewals = tokens.iter().map(|token| answered(stack.bearing(token, Method::POST, &path)));
        let statuses: Vec<u16> = join_all(renewals).await.into_iter().map(|(status, _)| status).collect();
        assert_eq!(statuses, [200, 200], "round {round}");
        let Items { ends, is_limited, channels, subscriptions } = items(&stack).await;
        assert_eq!(ends.len(), 1, "round {round}: {ends:?}");
        let wanted = if is_limited { 1 } else { 2 };
        assert_eq!((channels, subscriptions), (wanted, wanted), "round {round}, limited: {is_limited}");
    }
}
