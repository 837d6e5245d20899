//! A user who edits and deletes own messages of one channel, and reacts to those of all users.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use switchboard_client::Method;
use tokio::sync::watch;

use crate::{
    client::User,
    ledger::{Accepted, Changed, Kind, digest},
};

/// The emoji of all reactions, as a text and as a part of a URL.
pub(crate) const THUMB: &str = "👍";
const THUMB_IN_URL: &str = "%F0%9F%91%8D";

/// A user who changes messages of one channel. No two changers have the same user and channel, so that the last change
/// of each is known.
#[derive(Debug)]
pub(crate) struct Changer {
    user: User,
    channel: String,
    /// Whether the changer deletes messages. In a channel with the agent, a deleted question has no reply.
    deletes: bool,
    chance: StdRng,
    edits: u64,
}

impl Changer {
    pub(crate) fn new(user: User, channel: impl Into<String>, deletes: bool, seed: u64) -> Self {
        Self { user, channel: channel.into(), deletes, chance: StdRng::seed_from_u64(seed), edits: 0 }
    }

    /// Changes messages until it is stopped. A change that was begun is completed.
    pub(crate) async fn run(mut self, pause: Duration, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.change().await;
            let pause = pause.mul_f64(self.chance.random_range(0.0..2.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Makes one change of an accepted message, if there is one.
    async fn change(&mut self) {
        let roll = self.chance.random_range(0..10);
        let author = (roll < 6).then(|| self.user.name.clone());
        let Some(target) = self.user.shared.ledger.pick(&self.channel, author.as_deref(), &mut self.chance) else {
            return;
        };
        match roll {
            0 if self.deletes => self.delete(&target).await,
            0..6 => self.edit(&target).await,
            _ => {
                let is_added = self.chance.random_bool(0.7);
                self.react(&target, is_added).await;
            }
        }
    }

    async fn edit(&mut self, target: &Accepted) {
        let content = format!("{} {} edit {}", self.channel, self.user.name, self.edits);
        self.edits += 1;
        let body = json!({ "content": content });
        self.request(target, Method::PATCH, "", Some(&body), Kind::Edited(digest(&content))).await;
    }

    async fn delete(&mut self, target: &Accepted) {
        self.request(target, Method::DELETE, "", None, Kind::Deleted).await;
    }

    /// Adds or removes the user's reaction to a message.
    pub(crate) async fn react(&mut self, target: &Accepted, is_added: bool) {
        let method = if is_added { Method::PUT } else { Method::DELETE };
        let kind = Kind::Reacted { user: self.user.name.clone(), is_added };
        self.request(target, method, &format!("/reactions/{THUMB_IN_URL}"), None, kind).await;
    }

    /// Repeats a request until it is answered, and notes the change. A deleted message is not found.
    async fn request(&mut self, target: &Accepted, method: Method, below: &str, body: Option<&Value>, kind: Kind) {
        let path = format!("/channels/{}/messages/{}{below}", self.channel, target.seq);
        let what = format!("{method} {path} of {}", self.user.name);
        let answer = self.user.request_until_answered(method, &path, body, None, &mut self.chance).await;
        let ledger = &self.user.shared.ledger;
        match answer.status {
            200 | 204 => {
                ledger.count("changes accepted");
                ledger.change(Changed { channel: self.channel.clone(), seq: target.seq, kind });
            }
            404 if answer.body["code"] == "message_not_found" => ledger.count("changes of deleted messages"),
            status => ledger.violation(format!("the response to {what} is {status}")),
        }
    }
}
