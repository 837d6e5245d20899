//! A sender: messages in sequence, each under its own key until it is accepted, or without a key and sent once.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use switchboard_client::Method;
use tokio::sync::watch;

use crate::{
    client::{Answer, User},
    ledger::{Accepted, Unconfirmed, digest},
};

/// Maximum size of a content, in bytes (`content` in contracts/openapi.yaml).
pub(crate) const LARGEST: usize = 32_768;

/// Share of messages without an idempotency key.
const WITHOUT_KEY: f64 = 0.25;

/// Rate and sizes of a sender's messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendProfile {
    /// Mean pause after a message.
    pub(crate) pause: Duration,
    /// Share of messages of maximum size.
    pub(crate) large: f64,
}

/// A user who sends to one channel.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) user: User,
    pub(crate) channel: String,
    pub(crate) chance: StdRng,
    /// Text that pads its messages.
    pub(crate) filling: &'static str,
    sent: u64,
}

impl Sender {
    pub(crate) fn new(user: User, channel: impl Into<String>, seed: u64) -> Self {
        Self { user, channel: channel.into(), chance: StdRng::seed_from_u64(seed), filling: "x", sent: 0 }
    }

    /// Sends until it is stopped. A message that was begun is completed.
    pub(crate) async fn run(mut self, manner: SendProfile, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let size = if self.chance.random_bool(manner.large) { LARGEST } else { self.chance.random_range(0..400) };
            if self.chance.random_bool(WITHOUT_KEY) {
                self.send_once(size).await;
            } else {
                self.send(size).await;
            }
            let pause = manner.pause.mul_f64(self.chance.random_range(0.0..2.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Sends one message of about `size` bytes until it is accepted.
    pub(crate) async fn send(&mut self, size: usize) {
        let (number, content) = self.next(size);
        let key = format!("{}-{number}", self.user.name);
        let (path, body) = (self.path(), json!({ "content": content }));
        let user = self.user.clone();
        let attempt = async |chance: &mut StdRng| {
            user.request_until_answered(Method::POST, &path, Some(&body), Some(&key), chance).await
        };
        if self.chance.random_bool(0.05) {
            // Simulates a client that retries before it has the response.
            let mut other = self.chance.fork();
            let (one, two) = tokio::join!(attempt(&mut self.chance), attempt(&mut other));
            self.user.shared.ledger.count("messages sent twice at once");
            self.note(number, &content, &one);
            if one.is_success() && two.is_success() && one.body["seq"] != two.body["seq"] {
                let (key, one, two) = (&key, &one.body["seq"], &two.body["seq"]);
                self.user.shared.ledger.violation(format!("{key} was accepted as {one} and as {two}"));
            }
        } else {
            let answer = attempt(&mut self.chance).await;
            self.note(number, &content, &answer);
        }
    }

    /// Sends one message of about `size` bytes without a key and without a retry: a second one could not be told from
    /// the first.
    async fn send_once(&mut self, size: usize) {
        let (number, content) = self.next(size);
        let answer = self.user.ask(Method::POST, &self.path(), Some(&json!({ "content": content })), None).await;
        let ledger = &self.user.shared.ledger;
        ledger.count("messages without a key");
        match answer {
            Ok(answer) if !answer.is_transient() => self.note(number, &content, &answer),
            _ => {
                ledger.count("of them unconfirmed");
                let (channel, sender) = (self.channel.clone(), self.user.name.clone());
                ledger.note_unconfirmed(Unconfirmed { channel, sender, content: digest(&content) });
            }
        }
    }

    /// Returns the number and content of the next message, of about `size` bytes and unique.
    fn next(&mut self, size: usize) -> (u64, String) {
        let number = self.sent;
        self.sent += 1;
        let head = format!("{} {} {number} ", self.channel, self.user.name);
        let content = format!("{head}{}", self.filling.repeat(size.saturating_sub(head.len())));
        (number, content)
    }

    fn path(&self) -> String {
        format!("/channels/{}/messages", self.channel)
    }

    fn note(&self, number: u64, content: &str, answer: &Answer) {
        let ledger = &self.user.shared.ledger;
        let (channel, sender) = (self.channel.clone(), self.user.name.clone());
        let (Some(seq), Some(id)) = (answer.body["seq"].as_u64(), answer.body["message_id"].as_str()) else {
            return ledger.violation(format!(
                "the response to message {number} of {sender} to {channel} is {}: {}",
                answer.status, answer.body
            ));
        };
        if !answer.is_success() {
            return ledger.violation(format!("the response to message {number} of {sender} is {}", answer.status));
        }
        if answer.status == 200 {
            ledger.count("responses to a repeated key");
        }
        let (message_id, content) = (id.to_owned(), digest(content));
        ledger.accept(Accepted { channel, sender, number, seq, message_id, content });
    }
}
