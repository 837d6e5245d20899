//! Changes by users who concurrently lose their authority: roles, memberships, archived channels.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::Stack;

/// Rounds of each attack.
const ROUNDS: usize = 60;

async fn member(stack: &Stack, caller: &str, channel: &str, user: &str, role: &str) -> u16 {
    let path = format!("/channels/{channel}/members/{user}");
    stack.ask(caller, Method::PUT, &path, json!({ "role": role })).await.0
}

async fn members(stack: &Stack, caller: &str, channel: &str) -> Vec<(String, String)> {
    let path = format!("/channels/{channel}/members");
    let found = stack.ask(caller, Method::GET, &path, Value::Null).await.1;
    let text = |member: &Value, name: &str| member[name].as_str().unwrap().to_owned();
    let members = found["members"].as_array().unwrap();
    members.iter().map(|member| (text(member, "user_id"), text(member, "role"))).collect()
}

async fn message(stack: &Stack, user: &str, channel: &str, seq: u64) -> Value {
    stack.ask(user, Method::GET, &format!("/channels/{channel}/messages/{seq}"), Value::Null).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_being_removed_does_not_come_back() {
    let stack = Stack::in_memory();
    for role in ["member", "moderator"] {
        for round in 0..ROUNDS {
            let channel = format!("{role}-{round}");
            stack.create_channel("alice", &channel, "private", "off").await;
            assert_eq!(member(&stack, "alice", &channel, "bob", role).await, 201);
            let path = format!("/channels/{channel}/members/bob");
            let remove = stack.ask("alice", Method::DELETE, &path, Value::Null);
            let rejoin = futures::future::join_all(
                (0..6).map(|_| stack.ask("bob", Method::PUT, &path, json!({ "role": "member" }))),
            );
            let ((removed, _), rejoined) = futures::future::join(remove, rejoin).await;
            assert_eq!(removed, 204, "{role} {round}");
            assert!(rejoined.iter().all(|(status, _)| *status < 500), "{role} {round}: {rejoined:?}");
            assert_eq!(members(&stack, "alice", &channel).await.len(), 1, "{role} {round}: {rejoined:?}");
            let found = stack.ask("bob", Method::GET, &format!("/channels/{channel}/messages"), Value::Null).await;
            assert_eq!(found.0, 404, "{role} {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_who_is_being_demoted_adds_no_member_after_it() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(member(&stack, "alice", &channel, "bob", "moderator").await, 201);
        let demote = async {
            let demoted = member(&stack, "alice", &channel, "bob", "member").await;
            (demoted, members(&stack, "alice", &channel).await)
        };
        let adds = (0..6).map(async |number| {
            let user = format!("friend-{number}");
            (user.clone(), member(&stack, "bob", &channel, &user, "member").await)
        });
        let ((demoted, at_once), added) = futures::future::join(demote, futures::future::join_all(adds)).await;
        assert_eq!(demoted, 200, "round {round}");
        assert_eq!(members(&stack, "alice", &channel).await, at_once, "round {round}: {added:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_who_demote_and_remove_each_other_leave_one() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(member(&stack, "alice", &channel, "bob", "owner").await, 201);
        let (alice, bob) = (format!("/channels/{channel}/members/alice"), format!("/channels/{channel}/members/bob"));
        let answers = if round % 2 == 0 {
            let of_alice = member(&stack, "alice", &channel, "bob", "member");
            let of_bob = member(&stack, "bob", &channel, "alice", "member");
            futures::future::join(of_alice, of_bob).await
        } else {
            let of_alice = async { stack.ask("alice", Method::DELETE, &bob, Value::Null).await.0 };
            let of_bob = async { stack.ask("bob", Method::DELETE, &alice, Value::Null).await.0 };
            futures::future::join(of_alice, of_bob).await
        };
        let done = [answers.0, answers.1].iter().filter(|status| **status < 300).count();
        assert_eq!(done, 1, "round {round}: {answers:?}");
        let winner = if answers.0 < 300 { "alice" } else { "bob" };
        let owners = members(&stack, winner, &channel).await.into_iter().filter(|(_, role)| role == "owner").count();
        assert_eq!(owners, 1, "round {round}: {answers:?}");
    }
}

/// Returns the channel's message after `change`, the message after all `attempts`, and their statuses.
async fn raced(
    stack: &Stack,
    channel: &str,
    change: impl Future<Output = u16>,
    attempts: impl IntoIterator<Item = impl Future<Output = (u16, Value)>>,
) -> (Value, Value, Vec<u16>) {
    let changing = async {
        let status = change.await;
        assert!(status < 300, "{channel}: {status}");
        message(stack, "alice", channel, 1).await
    };
    let (at_once, answers) = futures::future::join(changing, futures::future::join_all(attempts)).await;
    let answers = answers.into_iter().map(|(status, _)| status).collect();
    (at_once, message(stack, "alice", channel, 1).await, answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_ends_edits_deletions_and_reactions_that_are_under_way() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "public", "off").await;
        stack.send("bob", &channel, "hello").await;
        let path = format!("/channels/{channel}/messages/1");
        let archive = async {
            let channel = format!("/channels/{channel}");
            stack.ask("alice", Method::PATCH, &channel, json!({ "archived": true })).await.0
        };
        let reaction = format!("{path}/reactions/%F0%9F%91%8D");
        let attempts = (0..8).map(async |number| match (round % 3, number) {
            (0, _) => stack.ask("bob", Method::PATCH, &path, json!({ "content": format!("edit {number}") })).await,
            (1, 7) => stack.ask("bob", Method::DELETE, &path, Value::Null).await,
            (1, _) => stack.ask("bob", Method::PATCH, &path, json!({ "metadata": { "n": number } })).await,
            _ if number % 2 == 0 => stack.ask("bob", Method::PUT, &reaction, Value::Null).await,
            _ => stack.ask("carol", Method::PUT, &reaction, Value::Null).await,
        });
        let (at_once, in_the_end, answers) = raced(&stack, &channel, archive, attempts).await;
        assert_eq!(at_once, in_the_end, "round {round}: {answers:?}");
        assert!(answers.iter().all(|status| *status < 500), "round {round}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_who_is_being_demoted_changes_no_message_of_others_after_it() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "public", "off").await;
        assert_eq!(member(&stack, "alice", &channel, "bob", "moderator").await, 201);
        stack.send("alice", &channel, "hello").await;
        let path = format!("/channels/{channel}/messages/1");
        let demote = member(&stack, "alice", &channel, "bob", "member");
        let attempts = (0..8).map(async |number| {
            if number == 7 {
                return stack.ask("bob", Method::DELETE, &path, Value::Null).await;
            }
            stack.ask("bob", Method::PATCH, &path, json!({ "content": format!("edit {number}") })).await
        });
        let (at_once, in_the_end, answers) = raced(&stack, &channel, demote, attempts).await;
        assert_eq!(at_once, in_the_end, "round {round}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_being_removed_changes_nothing_after_it() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(member(&stack, "alice", &channel, "bob", "member").await, 201);
        stack.send("bob", &channel, "hello").await;
        let path = format!("/channels/{channel}/messages/1");
        let remove = async {
            let bob = format!("/channels/{channel}/members/bob");
            stack.ask("alice", Method::DELETE, &bob, Value::Null).await.0
        };
        let attempts = (0..9).map(async |number| match number % 3 {
            0 => stack.ask("bob", Method::PATCH, &path, json!({ "content": format!("edit {number}") })).await,
            1 => stack.ask("bob", Method::PUT, &format!("{path}/reactions/%F0%9F%91%8D"), Value::Null).await,
            _ => stack.ask("bob", Method::PUT, &format!("/channels/{channel}/read"), json!({ "seq": 1 })).await,
        });
        let (at_once, in_the_end, answers) = raced(&stack, &channel, remove, attempts).await;
        assert_eq!(at_once, in_the_end, "round {round}: {answers:?}");
        assert!(answers.iter().all(|status| *status < 500), "round {round}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_being_demoted_changes_no_settings_after_it() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(member(&stack, "alice", &channel, "bob", "owner").await, 201);
        let path = format!("/channels/{channel}");
        let get = async || stack.ask("alice", Method::GET, &path, Value::Null).await.1;
        let demote = async {
            assert_eq!(member(&stack, "alice", &channel, "bob", "member").await, 200);
            get().await
        };
        let attempts = (0..6).map(async |number| {
            if number == 5 {
                return stack.ask("bob", Method::PATCH, &path, json!({ "visibility": "public" })).await;
            }
            stack.ask("bob", Method::PATCH, &path, json!({ "name": format!("name {number}") })).await
        });
        let (at_once, answers) = futures::future::join(demote, futures::future::join_all(attempts)).await;
        assert_eq!(at_once, get().await, "round {round}: {answers:?}");
        assert!(answers.iter().all(|(status, _)| *status < 500), "round {round}: {answers:?}");
    }
}
