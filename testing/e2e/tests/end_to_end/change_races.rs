//! Changes of messages at the same time: none is lost, and each takes one number.

use std::collections::BTreeSet;

use futures::future::{join, join_all, join3};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    changes::{THUMB, changes, cover, require_unbroken},
    programs::number_of,
    stack::Stack,
};

/// Users that react to one message at the same time.
const REACTORS: usize = 16;

/// A channel with a message for each race. Each round has its own author, so that no bucket becomes empty.
struct Room<'a> {
    stack: &'a Stack,
    channel: String,
    author: String,
}

impl<'a> Room<'a> {
    async fn new(stack: &'a Stack, round: usize) -> Self {
        let room = Self { stack, channel: format!("room-{round}"), author: format!("author-{round}") };
        stack.create_channel("alice", &room.channel, "public", "off").await;
        for race in ["two edits", "an edit and a deletion", "a deletion and a reaction", "reactions"] {
            stack.send(&room.author, &room.channel, race).await;
        }
        room
    }

    fn path(&self, seq: u64) -> String {
        format!("/channels/{}/messages/{seq}", self.channel)
    }

    async fn edit(&self, seq: u64, body: Value) -> u16 {
        self.stack.ask(&self.author, Method::PATCH, &self.path(seq), body).await.0
    }

    async fn delete(&self, seq: u64) -> u16 {
        self.stack.ask(&self.author, Method::DELETE, &self.path(seq), Value::Null).await.0
    }

    async fn react(&self, user: &str, seq: u64) -> u16 {
        let path = format!("{}/reactions/{THUMB}", self.path(seq));
        self.stack.ask(user, Method::PUT, &path, Value::Null).await.0
    }

    async fn message(&self, seq: u64) -> Value {
        let (status, found) = self.stack.ask("alice", Method::GET, &self.path(seq), Value::Null).await;
        assert_eq!(status, 200, "{found}");
        found
    }

    /// Returns the number of changes of two edits of different fields.
    async fn two_edits(&self) -> u64 {
        let statuses =
            join(self.edit(1, json!({ "content": "better" })), self.edit(1, json!({ "metadata": { "a": 1 } }))).await;
        assert_eq!(statuses, (200, 200), "{}", self.channel);
        let found = self.message(1).await;
        let fields = (&found["content"], &found["metadata"], &found["version"]);
        assert_eq!(fields, (&json!("better"), &json!({ "a": 1 }), &json!(3)), "{}", self.channel);
        2
    }

    /// Returns the number of changes of an edit beside a deletion.
    async fn edit_and_deletion(&self) -> u64 {
        let (edited, deleted) = join(self.edit(2, json!({ "content": "better" })), self.delete(2)).await;
        assert!(deleted == 204 && [200, 404].contains(&edited), "{}: {edited} {deleted}", self.channel);
        let found = self.message(2).await;
        let is_deleted = found["deleted_at"].is_string() && found["content"] == "";
        assert!(is_deleted && found.get("edited_at").is_some() == (edited == 200), "{edited}: {found}");
        1 + u64::from(edited == 200)
    }

    /// Returns the number of changes of a deletion beside a reaction.
    async fn deletion_and_reaction(&self) -> u64 {
        let (deleted, reacted) = join(self.delete(3), self.react("carol", 3)).await;
        assert!(deleted == 204 && [204, 404].contains(&reacted), "{}: {deleted} {reacted}", self.channel);
        let found = self.message(3).await;
        assert!(found["deleted_at"].is_string() && found.get("reactions").is_none(), "{reacted}: {found}");
        1 + u64::from(reacted == 204)
    }

    /// Returns the number of changes of reactions of many users.
    async fn reactions(&self) -> u64 {
        let users: Vec<String> = (0..REACTORS).map(|number| format!("reactor-{number}")).collect();
        let statuses = join_all(users.iter().map(|user| self.react(user, 4))).await;
        assert_eq!(statuses, [204; REACTORS], "{}", self.channel);
        let found = self.message(4).await;
        let numbers = (&found["reactions"][0]["count"], &found["version"]);
        assert_eq!(numbers, (&json!(REACTORS), &json!(REACTORS + 1)), "{}", self.channel);
        u64::try_from(REACTORS).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_beside_others_is_lost_and_each_takes_one_number() {
    let stack = Stack::in_memory();
    for round in 0..number_of("SWITCHBOARD_TEST_ROUNDS", 6) {
        let room = Room::new(&stack, round).await;
        let mut socket = stack.socket("bob", &room.channel).await;
        let (edits, beside, removed) =
            join3(room.two_edits(), room.edit_and_deletion(), room.deletion_and_reaction()).await;
        let expected = edits + beside + removed + room.reactions().await;
        assert_eq!(require_unbroken(&stack, "bob", &room.channel).await, expected, "{}", room.channel);

        // A page has each message once, as it is, at its last change.
        let (_, page) = changes(&stack, "alice", &room.channel, "after=0&limit=100").await;
        let listed = page["changes"].as_array().unwrap();
        let seqs: BTreeSet<u64> = listed.iter().map(|change| change["message"]["seq"].as_u64().unwrap()).collect();
        assert!(listed.len() == 4 && seqs.into_iter().eq(1..=4) && page["has_more"] == false, "{page}");
        assert!(listed.is_sorted_by_key(|change| change["rev"].as_u64()), "{page}");
        for change in listed {
            let seq = change["message"]["seq"].as_u64().unwrap();
            assert_eq!(change["message"], room.message(seq).await, "{}", room.channel);
        }

        // The frames cover each number, however they are merged.
        let mut covered = BTreeSet::new();
        while !(1..=expected).all(|rev| covered.contains(&rev)) {
            cover(&mut covered, &socket.events(1).await[0]);
        }
        assert!(covered.iter().copied().eq(1..=expected), "{}: {covered:?}", room.channel);
    }
}
