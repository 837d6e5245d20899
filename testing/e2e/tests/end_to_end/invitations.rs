//! Invited users who accept, decline, or come too late.

use futures::future::{join, join_all};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, token_of};

/// Number of rounds of each attack.
const ROUNDS: usize = 60;

/// Starts a stack in which members are added by invitation only.
fn asking() -> Stack {
    Stack::with(&[("MemberAdditions", "nobody".to_owned())])
}

fn place(channel: &str, user: &str) -> String {
    format!("/channels/{channel}/members/{user}")
}

async fn put(stack: &Stack, caller: &str, channel: &str, user: &str) -> (u16, Value) {
    stack.ask(caller, Method::PUT, &place(channel, user), Value::Null).await
}

async fn remove(stack: &Stack, caller: &str, channel: &str, user: &str) -> u16 {
    stack.ask(caller, Method::DELETE, &place(channel, user), Value::Null).await.0
}

/// Returns the user's invitations.
async fn invited(stack: &Stack, user: &str) -> Vec<Value> {
    let (status, page) = stack.ask(user, Method::GET, "/invitations?limit=100", Value::Null).await;
    assert_eq!((status, &page["has_more"]), (200, &json!(false)));
    page["invitations"].as_array().unwrap().clone()
}

/// Requests everything that members of a private channel may see. All requests must fail.
async fn sees_nothing(stack: &Stack, user: &str, channel: &str) {
    let base = format!("/channels/{channel}");
    for (method, path, body) in [
        (Method::GET, base.clone(), Value::Null),
        (Method::GET, format!("{base}/messages"), Value::Null),
        (Method::GET, format!("{base}/messages/1"), Value::Null),
        (Method::GET, format!("{base}/members"), Value::Null),
        (Method::GET, place(channel, "alice"), Value::Null),
        (Method::GET, format!("{base}/presence"), Value::Null),
        (Method::POST, format!("{base}/messages"), json!({ "content": "hi" })),
        (Method::PUT, format!("{base}/read"), json!({ "seq": 1 })),
        (Method::POST, format!("{base}/typing"), Value::Null),
        (Method::PATCH, base.clone(), json!({ "name": "mine" })),
        (Method::DELETE, base.clone(), Value::Null),
        (Method::PUT, place(channel, "another"), Value::Null),
    ] {
        assert_eq!(stack.ask(user, method.clone(), &path, body).await.0, 404, "{method} {path}");
    }
    assert!(stack.connect(&token_of(user), &format!("?channels={channel}")).await.is_err());
    let own = stack.ask(user, Method::GET, "/channels", Value::Null).await.1;
    assert!(own["channels"].as_array().unwrap().iter().all(|one| one["channel_id"] != channel), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_user_sees_nothing_before_accepting_and_everything_after() {
    let stack = asking();
    stack.create_channel("alice", "secret", "private", "off").await;
    stack.send("alice", "secret", "before").await;
    let mut alice = stack.socket("alice", "secret").await;
    let mut bob = stack.connect(&token_of("bob"), "").await.unwrap();
    assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 404, "a user without an invitation");
    let (status, invitation) = put(&stack, "alice", "secret", "bob").await;
    assert_eq!(status, 202);
    assert_eq!((&invitation["user_id"], &invitation["invited_by"]), (&json!("bob"), &json!("alice")));
    assert_eq!(put(&stack, "alice", "secret", "bob").await, (202, invitation.clone()), "the same again");
    assert_eq!((&invitation["channel_id"], &invitation["name"]), (&json!("secret"), &json!("secret")));
    assert_eq!(invited(&stack, "bob").await, [invitation]);
    sees_nothing(&stack, "bob", "secret").await;
    stack.send("alice", "secret", "while bob is invited").await;
    // A message goes to those who are subscribed when it is delivered, so bob accepts after that.
    assert_eq!(alice.messages(1).await[0]["content"], "while bob is invited");
    let members = stack.ask("alice", Method::GET, "/channels/secret/members", Value::Null).await.1;
    assert_eq!(members["members"].as_array().unwrap().len(), 1);

    let (status, member) = put(&stack, "bob", "secret", "bob").await;
    assert_eq!((status, &member["role"], member.get("added_by")), (201, &json!("member"), None));
    stack.send("alice", "secret", "after").await;
    assert_eq!(bob.messages(1).await[0]["content"], "after", "and nothing before it");
    assert_eq!(stack.history("bob", "secret").await.len(), 3);
    assert!(invited(&stack, "bob").await.is_empty());
    assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_taken_back_or_declined_opens_nothing() {
    let stack = asking();
    stack.create_channel("alice", "secret", "private", "off").await;
    for by in ["alice", "bob"] {
        assert_eq!(put(&stack, "alice", "secret", "bob").await.0, 202);
        assert_eq!(remove(&stack, "carol", "secret", "bob").await, 404, "a stranger");
        assert_eq!(remove(&stack, by, "secret", "bob").await, 204, "{by}");
        assert!(invited(&stack, "bob").await.is_empty());
        assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 404, "{by}");
        assert_eq!(remove(&stack, "bob", "secret", "bob").await, 404, "{by}");
        sees_nothing(&stack, "bob", "secret").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_leads_into_no_channel_that_took_the_id_anew() {
    let stack = asking();
    stack.create_channel("alice", "secret", "private", "off").await;
    assert_eq!(put(&stack, "alice", "secret", "bob").await.0, 202);
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/secret", Value::Null).await.0, 204);
    assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 404);
    assert!(invited(&stack, "bob").await.is_empty());
    stack.create_channel("mallory", "secret", "private", "off").await;
    assert!(invited(&stack, "bob").await.is_empty());
    assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 404);
    sees_nothing(&stack, "bob", "secret").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_and_accepts_an_invitation_hears_again() {
    let stack = asking();
    stack.create_channel("alice", "secret", "private", "off").await;
    for round in 0..3 {
        assert_eq!(put(&stack, "alice", "secret", "bob").await.0, 202);
        assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 201);
        let mut bob = stack.connect(&token_of("bob"), "").await.unwrap();
        let content = format!("message {round}");
        stack.send("alice", "secret", &content).await;
        assert_eq!(bob.messages(1).await[0]["content"], content.as_str());
        assert_eq!(remove(&stack, "alice", "secret", "bob").await, 204);
        assert_eq!(put(&stack, "bob", "secret", "bob").await.0, 404, "by the invitation that is used up");
        assert!(bob.hear_but_presence().await.is_err(), "the socket is closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_while_the_invitation_is_taken_back_is_no_member_in_the_end() {
    let stack = asking();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(put(&stack, "alice", &channel, "bob").await.0, 202);
        let accept = join_all((0..6).map(|_| put(&stack, "bob", &channel, "bob")));
        let (removed, accepted) = join(remove(&stack, "alice", &channel, "bob"), accept).await;
        // Either the invitation was revoked, or the member was removed.
        assert_eq!(removed, 204, "{round}: {accepted:?}");
        assert!(accepted.iter().all(|(status, _)| [200, 201, 404].contains(status)), "{round}: {accepted:?}");
        let made = accepted.iter().filter(|(status, _)| *status == 201).count();
        assert!(made <= 1, "{round}: {accepted:?}");
        let found = stack.ask("bob", Method::GET, &format!("/channels/{channel}/messages"), Value::Null).await;
        assert_eq!(found.0, 404, "{round}: {accepted:?}");
        assert_eq!(put(&stack, "bob", &channel, "bob").await.0, 404, "{round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_while_the_channel_is_archived_or_deleted_enters_no_closed_channel() {
    let stack = asking();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(put(&stack, "alice", &channel, "bob").await.0, 202);
        let path = format!("/channels/{channel}");
        let archives = round % 2 == 0;
        let end = async {
            let (method, body) =
                if archives { (Method::PATCH, json!({ "archived": true })) } else { (Method::DELETE, Value::Null) };
            let ended = stack.ask("alice", method, &path, body).await.0;
            let members = stack.ask("alice", Method::GET, &format!("{path}/members"), Value::Null).await.1;
            (ended, members["members"].as_array().map(Vec::len))
        };
        let ((ended, at_once), accepted) = join(end, put(&stack, "bob", &channel, "bob")).await;
        assert!(ended < 300, "{round}: {ended}");
        let members = stack.ask("alice", Method::GET, &format!("{path}/members"), Value::Null).await.1;
        assert_eq!(members["members"].as_array().map(Vec::len), at_once, "{round}: {accepted:?}");
        assert!([201, 404, 409].contains(&accepted.0), "{round}: {accepted:?}");
        let own = stack.ask("bob", Method::GET, "/channels?limit=100&archived=true", Value::Null).await.1;
        let is_listed = own["channels"].as_array().unwrap().iter().any(|one| one["channel_id"] == channel.as_str());
        assert_eq!(is_listed, archives && accepted.0 == 201, "{round}: {accepted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_moderator_invites_nobody_after_it() {
    let stack = asking();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "private", "off").await;
        assert_eq!(put(&stack, "alice", &channel, "bob").await.0, 202);
        assert_eq!(put(&stack, "bob", &channel, "bob").await.0, 201);
        let role = async |role: &str| {
            stack.ask("alice", Method::PUT, &place(&channel, "bob"), json!({ "role": role })).await.0
        };
        assert_eq!(role("moderator").await, 200);
        let friends: Vec<String> = (0..6).map(|number| format!("friend-{round}-{number}")).collect();
        let count = async || {
            let lists = join_all(friends.iter().map(|friend| invited(&stack, friend))).await;
            lists.iter().map(Vec::len).sum::<usize>()
        };
        let demote = async {
            let demoted = role("member").await;
            (demoted, count().await)
        };
        let invites = join_all(friends.iter().map(|friend| put(&stack, "bob", &channel, friend)));
        let ((demoted, at_once), answers) = join(demote, invites).await;
        assert_eq!(demoted, 200, "{round}");
        assert!(answers.iter().all(|(status, _)| [202, 403].contains(status)), "{round}: {answers:?}");
        assert_eq!(count().await, at_once, "{round}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_limited_number_of_invitations_to_answer() {
    let stack = asking();
    let one = async |number: usize| {
        let channel = format!("c-{number}");
        stack.create_channel("mallory", &channel, "private", "off").await;
        put(&stack, "mallory", &channel, "victim").await
    };
    let mut answers = Vec::new();
    for number in 0..chat::model::limits::INVITATIONS_PER_USER + 10 {
        answers.push(one(number).await);
    }
    let sent = answers.iter().filter(|(status, _)| *status == 202).count();
    assert_eq!(sent, chat::model::limits::INVITATIONS_PER_USER);
    let (status, problem) = answers.last().unwrap();
    assert_eq!((*status, problem["detail"].is_string()), (409, true), "{problem}");
    let own = stack.ask("victim", Method::GET, "/channels", Value::Null).await.1;
    assert_eq!(own["channels"], json!([]), "of all that, no channel is the victim's");
    assert_eq!(remove(&stack, "victim", "c-0", "victim").await, 204);
    assert_eq!(put(&stack, "mallory", "c-109", "victim").await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_private_channels_are_not_chosen_where_that_would_tell_of_others() {
    let stack = Stack::with(&[("ChosenChannelIds", "public".to_owned())]);
    let body = |id: Option<&str>, visibility: &str| {
        let mut body = json!({ "name": "Room", "visibility": visibility });
        if let Some(id) = id {
            body["channel_id"] = json!(id);
        }
        body
    };
    let create = async |user: &str, body: Value| stack.ask(user, Method::POST, "/channels", body).await;
    let (status, made) = create("alice", body(None, "private")).await;
    assert_eq!(status, 201, "{made}");
    let taken = made["channel_id"].as_str().unwrap();
    for id in [taken, "free"] {
        let (status, problem) = create("mallory", body(Some(id), "private")).await;
        assert_eq!((status, &problem["errors"][0]["code"]), (400, &json!("not_allowed")), "{problem}");
    }
    assert_eq!(create("mallory", body(Some("room"), "public")).await.0, 201);
    assert_eq!(create("mallory", body(Some("room"), "public")).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_are_listed_in_pages() {
    let stack = asking();
    for id in ["a", "b", "c"] {
        stack.create_channel("alice", id, "private", "off").await;
        assert_eq!(put(&stack, "alice", id, "bob").await.0, 202);
    }
    let (mut ids, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let (status, page) = stack.ask("bob", Method::GET, &format!("/invitations?{query}"), Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let listed = page["invitations"].as_array().unwrap();
        ids.extend(listed.iter().map(|one| one["channel_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next"]["cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(ids, ["a", "b", "c"]);
    for wrong in ["cursor=b", "after=b", "name_prefix=b"] {
        assert_eq!(
            stack.ask("bob", Method::GET, &format!("/invitations?{wrong}"), Value::Null).await.0,
            400,
            "{wrong}"
        );
    }
}
