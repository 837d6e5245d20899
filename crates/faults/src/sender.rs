//! A sender: one message after the other, each under a key of its own until it is accepted, or without one and once.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    client::{Answer, User},
    ledger::{Accepted, Unconfirmed, digest},
};

/// Longest content of a message, in bytes (`content` in contracts/openapi.yaml).
pub(crate) const LARGEST: usize = 32_768;

/// Share of messages without an idempotency key.
const WITHOUT_KEY: f64 = 0.25;

/// How much a sender says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendProfile {
    /// Pause after a message, on average.
    pub(crate) pause: Duration,
    /// Share of messages that are as large as can be.
    pub(crate) large: f64,
}

/// Who sends.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) user: User,
    pub(crate) channel: String,
    pub(crate) chance: StdRng,
    /// What fills its messages up.
    pub(crate) filling: &'static str,
    sent: u64,
}

impl Sender {
    pub(crate) fn new(user: User, channel: impl Into<String>, seed: u64) -> Self {
        Self { user, channel: channel.into(), chance: StdRng::seed_from_u64(seed), filling: "x", sent: 0 }
    }

    /// Sends until it is told to stop. A message that was begun is sent to its end.
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
            // A client that does not wait for the answer before it tries again.
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

    /// Sends one message of about `size` bytes without a key, and no second time: nobody could tell it from another.
    async fn send_once(&mut self, size: usize) {
        let (number, content) = self.next(size);
        let answer = self.user.ask(Method::POST, &self.path(), Some(&json!({ "content": content })), None).await;
        let ledger = &self.user.shared.ledger;
        ledger.count("messages without a key");
        match answer {
            Ok(answer) if !answer.is_transient() => self.note(number, &content, &answer),
            _ => {
                ledger.count("of them left open");
                let (channel, sender) = (self.channel.clone(), self.user.name.clone());
                ledger.note_unconfirmed(Unconfirmed { channel, sender, content: digest(&content) });
            }
        }
    }

    /// The next message, of about `size` bytes and unlike any other: its number and its content.
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
                "message {number} of {sender} to {channel} was answered with {}: {}",
                answer.status, answer.body
            ));
        };
        if !answer.is_success() {
            return ledger.violation(format!("message {number} of {sender} was answered with {}", answer.status));
        }
        if answer.status == 200 {
            ledger.count("answers to a repeated key");
        }
        let (message_id, content) = (id.to_owned(), digest(content));
        ledger.accept(Accepted { channel, sender, number, seq, message_id, content });
    }
}
