//! `switchboard messages`: shows one message, and what happened to it.

use anyhow::Result;
use chat::{
    model::{
        channel::Channel,
        id::ChannelId,
        message::{Message, Role},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{Clock, SystemClock},
        connection_store::ConnectionStore,
        message_store::{MessageStore, RecordKey},
        reply_leases::{MessageKey, ReplyLeases},
    },
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    output::{Output, Row},
    refusal::Refusal,
    target::Target,
};

/// Commands for messages.
#[derive(Debug, Args)]
pub struct Messages {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a message as it is stored
    Get(Which),
    /// Print what happened to a message: its number, its changes, its trace, the reply and the audience
    Trace(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// Channel
    #[arg(value_name = "CHANNEL")]
    channel: ChannelId,
    /// Number of the message
    #[arg(value_name = "SEQ")]
    seq: u64,
}

/// Message as it is stored, with the number of its last change.
#[derive(Debug, Serialize)]
struct Shown {
    rev: Rev,
    #[serde(flatten)]
    message: Message,
}

/// Step of a message.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    details: String,
}

impl Row for Step {
    const COLUMNS: &'static [&'static str] = &["STEP", "TIME", "DETAILS"];

    fn cells(&self) -> Vec<String> {
        let at = self.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        vec![self.name.to_owned(), at, self.details.clone()]
    }
}

impl Messages {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if the channel or the message does not exist, or a store fails.
    pub async fn run(self, target: &Target, output: &Output) -> Result<()> {
        match self.command {
            Command::Get(which) => {
                let (_, shown) = which.find(target).await?;
                output.result(&shown, serde_json::to_string_pretty(&shown)?)
            }
            Command::Trace(which) => output.rows(&which.trace(target).await?),
        }
    }
}

impl Which {
    async fn find(&self, target: &Target) -> Result<(Channel, Shown)> {
        let Self { channel, seq } = self;
        let found = target.channels().channel(channel).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no channel {channel}")))?;
        let stored = target.messages().messages_among(&found.key(), &[Seq::new(*seq)], SystemClock.now()).await?;
        let (rev, message) = stored
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::NotFound(format!("there is no message {seq} in {channel}, or it has expired")))?;
        Ok((found, Shown { rev, message }))
    }

    async fn trace(self, target: &Target) -> Result<Vec<Step>> {
        let (channel, Shown { rev, message }) = self.find(target).await?;
        let key = channel.key();
        let at = Some(message.created_at);
        let mut steps = vec![step("stored", at, format!("{} by {}", message.message_id, message.sender_id))];
        if let Some(trace) = target.messages().trace_of(&key, message.seq).await? {
            let id = trace.traceparent.split('-').nth(1).unwrap_or_default().to_owned();
            steps.push(step("trace", None, id));
        }
        if rev > Rev::ZERO {
            let changed = message.deleted_at.or(message.edited_at);
            let kind = match (message.deleted_at, message.edited_at) {
                (Some(_), _) => "deleted",
                (None, Some(_)) => "edited",
                (None, None) => "reactions",
            };
            steps.push(step("changed", changed, format!("{kind}, version {}, rev {rev}", message.version)));
        }
        if message.role == Role::User {
            steps.extend(reply(target, &channel, message.seq).await?);
        }
        let audience = target.connections().audience(&key, SystemClock.now()).await?;
        let gate = if audience.gate.closed { ", gate closed" } else { "" };
        steps.push(step("audience", None, format!("{} subscriptions{gate}", audience.subscriptions.len())));
        Ok(steps)
    }
}

/// Returns the steps of the agent's reply to a message.
async fn reply(target: &Target, channel: &Channel, seq: Seq) -> Result<Vec<Step>> {
    let (key, now) = (channel.key(), SystemClock.now());
    let mut steps = Vec::new();
    let question = MessageKey { channel: key.clone(), seq };
    if let Some(draft) = target.channels().draft(&question, now).await? {
        let state = match (draft.status, draft.held) {
            (Some(status), _) => serde_json::to_string(&status)?.trim_matches('"').to_owned(),
            (None, true) => "a worker holds the lease".to_owned(),
            (None, false) => "no worker holds the lease".to_owned(),
        };
        let length = draft.text.chars().count();
        steps.push(step("draft", None, format!("{state}, {length} characters stored")));
    }
    if let Some(record) = target.messages().idempotency_record(&key, &RecordKey::Reply { seq }).await? {
        let reply = target.messages().message(&key, record.seq, now).await?;
        let at = reply.as_ref().map(|reply| reply.created_at);
        let kind = match reply.map(|reply| reply.role) {
            Some(Role::System) => "notice",
            Some(_) => "reply",
            None => "reply, expired",
        };
        steps.push(step("answered", at, format!("{kind} {}", record.seq)));
    }
    Ok(steps)
}

fn step(name: &'static str, at: Option<Timestamp>, details: String) -> Step {
    Step { name, at, details }
}
